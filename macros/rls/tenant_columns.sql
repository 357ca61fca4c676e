{#
    Return the tenant columns: a row belongs to the tenant in each of them.
#}
{% macro tenant_columns(declaration) %}

{% set declared = declaration.tenant_column %}
{{ return([declared] if declared is string else (declared or [])) }}

{% endmacro %}
