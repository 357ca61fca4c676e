{#
    Return the columns that say whose tenant's a row is: it belongs to the tenant in any of them.
#}
{% macro tenant_columns(declaration) %}

{% set declared = declaration.tenant_column %}
{{ return([declared] if declared is string else (declared or [])) }}

{% endmacro %}
