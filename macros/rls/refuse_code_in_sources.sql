{#
    Refuse to read sources whose owners would have dpe_transformer run their code: policies, views, types and functions of a role that is
    neither an administrator nor the pipeline. `unique_ids` are the nodes that read them. With `locks`, the owners can neither change nor
    exchange these sources before the transaction ends, in which they are read then; the commit examines what was read
    (dpe_cli/server/sql/protection.sql).
#}
{% macro refuse_code_in_sources(unique_ids, locks=false) %}

{% if execute %}
    {% set sources = dpe.sources_read_by(unique_ids) %}
    {% if sources %}
        {% set schemas = [] %}
        {% set names = [] %}
        {% for source in sources %}
            {% set name = dpe.stored_name(source) %}
            {% do schemas.append(name.schema) %}
            {% do names.append(name.identifier) %}
        {% endfor %}
        {% set found = dbt.run_query(
            "select source, code from dpe." ~ ("lock_sources" if locks else "sources_with_code") ~ "("
            ~ dpe.array_of_names(schemas) ~ ", " ~ dpe.array_of_names(names) ~ ")"
        ).rows %}
        {% set faults = [] %}
        {% for row in found %}
            {% do faults.append(row['source'] ~ ": reading it would run code of others with the rights of dpe_transformer (" ~ row['code'] ~ ")") %}
        {% endfor %}
        {% if faults %}
            {{ exceptions.raise_compiler_error(faults | join('; ') ~ "; remove this code, or have an administrator own it") }}
        {% endif %}
    {% endif %}
{% endif %}

{% endmacro %}
