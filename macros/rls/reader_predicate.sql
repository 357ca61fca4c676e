{#
    The rows that a reader sees: those of its tenants, or all of a shared relation.
#}
{% macro reader_predicate(declaration) -%}

{%- if declaration.tenant_column -%}
{{ adapter.quote(declaration.tenant_column) }} = any ((select dpe.visible_tenants())::text[])
{%- else -%}
true
{%- endif -%}

{%- endmacro %}
