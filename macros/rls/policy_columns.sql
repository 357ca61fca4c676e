{#
    Return the columns that the policies of a declaration compare.
#}
{% macro policy_columns(declaration) %}

{% set columns = dpe.tenant_columns(declaration) + [] %}
{% if declaration.role_column %}
    {% do columns.append(declaration.role_column) %}
{% elif declaration.access %}
    {% do columns.append(declaration.access.column) %}
{% endif %}
{{ return(columns) }}

{% endmacro %}
