{#
    The rows that a pipeline or an administrator sees in an open context: all, or those of the tenant it opened.
    Sub-selects, so that PostgreSQL asks once a query, not once a row.
#}
{% macro system_predicate(declaration) -%}

{%- if declaration.tenant_column -%}
(select dpe.every_tenant_is_open()) or {{ reader_predicate(declaration) }}
{%- else -%}
(select dpe.context_is_open())
{%- endif -%}

{%- endmacro %}
