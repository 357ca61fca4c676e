{#
    When `dpe run` builds in shadow schemas, refer to the published version of what is not being built: a part of the project
    is built on the rest as readers see it.
#}
{% macro ref() %}

{% set relation = builtins.ref(*varargs, **kwargs) %}
{% set suffix = schema_suffix() %}

{% if not execute or not suffix or not relation.schema or not relation.schema.endswith(suffix) %}
    {{ return(relation) }}
{% endif %}

{% set version = kwargs.get('version', kwargs.get('v')) %}
{% set name = varargs[-1] ~ ('.v' ~ version if version else '') %}
{% set packages = [varargs[0]] if varargs | length > 1 else [model.package_name, project_name] %}
{% for package in packages %}
    {% for kind in ['model', 'seed', 'snapshot'] if kind ~ '.' ~ package ~ '.' ~ name in selected_resources %}
        {{ return(relation) }}
    {% endfor %}
    {# Without a version, this means the latest one, which has this alias. #}
    {% for unique_id in selected_resources if unique_id.startswith('model.' ~ package ~ '.' ~ name ~ '.v') %}
        {% if graph.nodes[unique_id].alias == relation.identifier and graph.nodes[unique_id].schema == relation.schema %}
            {{ return(relation) }}
        {% endif %}
    {% endfor %}
{% endfor %}
{{ return(relation.replace_path(schema=relation.schema[:-(suffix | length)])) }}

{% endmacro %}
