{#
    Return the roles that a `grants` configuration names, as PostgreSQL stores them: in lower case, unless quoted.
#}
{% macro grantees_of(grants) %}

{% set names = [] %}
{% for grantees in grants.values() %}
    {% for grantee in ([grantees] if grantees is string else grantees) %}
        {% set written = grantee | string | trim %}
        {% if modules.re.fullmatch('"([^"]|"")+"', written) %}
            {% do names.append(written[1:-1] | replace('""', '"')) %}
        {% elif modules.re.fullmatch('[A-Za-z_][A-Za-z0-9_$]*', written) %}
            {% do names.append(written | lower) %}
        {% else %}
            {{ exceptions.raise_compiler_error(
                model.name ~ " (" ~ model.original_file_path ~ "): grants names " ~ grantee ~ ", which is not the name of a role; write "
                ~ "such a name in quotes, like '" ~ '"' ~ "bi-tool" ~ '"' ~ "'"
            ) }}
        {% endif %}
    {% endfor %}
{% endfor %}
{{ return(names | unique | list) }}

{% endmacro %}
