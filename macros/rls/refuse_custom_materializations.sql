{#
    Refuse materializations that are not dbt's: they need not grant (postgres__apply_grants) before they commit, so that readers could see
    what they build without its policies. Those of tests and functions are refused as well: they run in the same sessions. An on-run-start
    hook: nothing is built yet.

    If the flag require_explicit_package_overrides_for_builtin_materializations is off, dbt uses the materializations of packages instead of
    its own. Jinja cannot read the flag, so packages with any are refused, except for those of tests, as Elementary's: a package could do
    the same in its generic tests.
#}
{% macro refuse_custom_materializations() %}

{% set known = {
    'model': ['table', 'view', 'incremental', 'ephemeral', 'materialized_view'],
    'seed': ['seed'],
    'snapshot': ['snapshot'],
    'test': ['test'],
    'function': ['function'],
} %}
{% if execute %}
    {% set nodes = graph.nodes.values() | list + graph.functions.values() | list %}
    {% for node in nodes if node.unique_id in selected_resources and node.resource_type in known %}
        {% set materialized = node.config.materialized %}
        {% set default = context.get('materialization_' ~ materialized ~ '_default') %}
        {% if materialized not in known[node.resource_type] or 'materialization_' ~ materialized ~ '_postgres' in context
                or (default and default.macro.package_name != 'dbt') %}
            {{ exceptions.raise_compiler_error(
                node.name ~ " (" ~ node.original_file_path ~ "): the materialization " ~ materialized ~ " is not dbt's own, so that its "
                ~ "relations are not protected before they are committed; use " ~ known[node.resource_type] | join(', ')
            ) }}
        {% endif %}
    {% endfor %}
    {% set replaceable = ['unit'] %}
    {% for type in known if type != 'test' %}
        {% do replaceable.extend(known[type]) %}
    {% endfor %}
    {% for package, own in context.items() if own is mapping and package not in ['dbt', 'dpe', project_name] %}
        {% for materialized in replaceable %}
            {% for name in ['materialization_' ~ materialized ~ '_default', 'materialization_' ~ materialized ~ '_postgres']
                    if name in own and own[name].macro.package_name == package %}
                {{ exceptions.raise_compiler_error(
                    "the package " ~ package ~ ": its materialization " ~ materialized ~ " (" ~ own[name].macro.original_file_path
                    ~ ") may replace dbt's own, so that relations are not protected before they are committed; remove the package from packages.yml"
                ) }}
            {% endfor %}
        {% endfor %}
    {% endfor %}
    {# `graph` does not have unit tests. #}
    {% for name in ['materialization_unit_default', 'materialization_unit_postgres'] if name in context %}
        {% if context[name].macro.package_name != 'dbt' %}
            {{ exceptions.raise_compiler_error(
                "the materialization unit (" ~ context[name].macro.original_file_path ~ ") is not dbt's own; give it another name"
            ) }}
        {% endif %}
    {% endfor %}
{% endif %}

{% endmacro %}
