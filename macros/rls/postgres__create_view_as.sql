{#
    Create a view with its reader's rights if nothing else would set them before the commit: a view of stored failures.
    Views of the materialization `view` are protected by postgres__apply_grants. A view of the latest version of a model is not in the graph.
#}
{% macro postgres__create_view_as(relation, sql) %}

{% if model.resource_type == 'model' and model.unique_id not in graph.nodes %}
    {% do dpe.refuse_latest_version_pointer(model) %}
{% endif %}
{% do dpe.refuse_code_in_sources([model.unique_id], locks=true) %}
{{ dpe.next_implementation('create_view_as')(relation, sql) }}

{% if config.get('materialized') != 'view' %}
{{ dpe.protect_view(relation, {'private': true}, model.unique_id) }}
{% endif %}

{% endmacro %}
