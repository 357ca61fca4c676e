{#
    Return the schema and identifier by which PostgreSQL knows the relation of a node: those of the query that dbt writes. Where quoting is
    off (`quoting:` of a source or of the project), PostgreSQL folds the letters of ASCII to lower case, like lower() of bytes
    (dpe_cli/project/stored_names.py).
#}
{% macro stored_name(node) %}

{% set parts = [] %}
{% for quoted, plain in modules.re.findall('"((?:[^"]|"")*)"|([^".]+)', node.relation_name or '') %}
    {% do parts.append(plain.encode().lower().decode() if plain else quoted | replace('""', '"')) %}
{% endfor %}
{% if parts | length < 2 %}
    {% do parts.extend([node.schema, node.identifier or node.alias]) %}
{% endif %}
{{ return({'schema': parts[-2], 'identifier': parts[-1]}) }}

{% endmacro %}
