{#
    Return the macro that dbt would call if dpe did not override it: the project's, or else dbt's own. dpe comes first in `dispatch`,
    because a project's macro would otherwise silently replace dpe's. Returns none
    while dbt parses a test, when it knows only the macros that the test is known to call.
#}
{% macro next_implementation(name) %}

{% set own = context.get(project_name, {}) %}
{% for prefix in ['postgres', 'default'] if prefix ~ '__' ~ name in own %}
    {{ return(own[prefix ~ '__' ~ name]) }}
{% endfor %}
{{ return(dbt.get('postgres__' ~ name) or dbt.get('default__' ~ name)) }}

{% endmacro %}
