{#
    Refuse to have dbt make a view of the latest version of a model (`latest_version_pointer`, from dbt 1.12 on): no model declares it, so
    no check of the project's relations knows it, and dbt would put it in the place of any relation of its name, such as another model's
    table after its tests. An on-run-start hook: nothing is built yet. Jinja cannot read the flag that makes it the default:
    postgres__create_view_as refuses those views.
#}
{% macro refuse_latest_version_pointers() %}

{% if execute %}
    {% for node in graph.nodes.values() if node.resource_type == 'model' and node.version is not none
            and node.version | string == node.latest_version | string %}
        {% set pointer = node.config.latest_version_pointer %}
        {% if (pointer is mapping and pointer.enabled) or pointer is true %}
            {% do dpe.refuse_latest_version_pointer(node) %}
        {% endif %}
    {% endfor %}
{% endif %}

{% endmacro %}
