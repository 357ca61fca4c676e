{#
    Create a view that reads with its reader's rights where no hook would say so: that of a stored failure.
    What the materialization `view` creates is protected by apply_policies.
#}
{% macro postgres__create_view_as(relation, sql) %}

{{ dbt.default__create_view_as(relation, sql) }}

{% if config.get('materialized') != 'view' %}
{{ protect_view(relation, {'private': true}) }}
{% endif %}

{% endmacro %}
