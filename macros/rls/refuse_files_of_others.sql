{#
    Refuse a version of a model in a file that may be another model's (`defined_in`): dbt would take that model's file for this one, drop its
    declaration and its tests with a warning, and replace its relation. An on-run-start hook: nothing is built yet.
#}
{% macro refuse_files_of_others() %}

{% if execute %}
    {% for node in graph.nodes.values() if node.resource_type == 'model' and node.version is not none and node.package_name == project_name %}
        {% set own = node.name ~ '_v' ~ node.version %}
        {% if node.original_file_path.replace('\\', '/').split('/')[-1].rsplit('.', 1)[0] not in [node.name, own] %}
            {{ exceptions.raise_compiler_error(
                node.name ~ ".v" ~ node.version ~ " (" ~ node.original_file_path ~ "): the file may be another model's, which would lose its "
                ~ "declaration and its tests; name it " ~ own ~ ".sql"
            ) }}
        {% endif %}
    {% endfor %}
{% endif %}

{% endmacro %}
