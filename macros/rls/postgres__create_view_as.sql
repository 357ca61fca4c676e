{#
    Create a view that reads with its reader's rights where nothing would say so before it is committed: that of a stored failure.
    What the materialization `view` creates is protected by postgres__apply_grants.
#}
{% macro postgres__create_view_as(relation, sql) %}

{{ dbt.default__create_view_as(relation, sql) }}

{% if config.get('materialized') != 'view' %}
{{ protect_view(relation, {'private': true}, model.unique_id) }}
{% endif %}

{% endmacro %}
