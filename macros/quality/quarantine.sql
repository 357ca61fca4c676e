{#
    Move the rows that break a rule with `on_failure: quarantine` from the table that is being built into `<model>__quarantine`,
    with the ids of the rules and under the same policies. This happens in the transaction that builds the table, so that no session
    ever sees these rows in it. A table is built from scratch each time, so a corrected row returns automatically. `relation` is the
    table's name while dbt builds it.

    More rows than `quarantine: {max_rows: …, max_ratio: …}` in a rule's meta allows (5 % by default) fail the build: so many
    mean that the delivery is bad, not only some rows.
#}
{% macro quarantine(relation) %}

{% set tests = dpe.quarantining_tests() %}
{% if tests %}
    {% if config.get('materialized') != 'table' %}
        {{ exceptions.raise_compiler_error(
            model.name ~ " (" ~ model.original_file_path ~ "): only a table can have rows in quarantine, because it is rebuilt each time; "
            ~ "make it a table, or give rule " ~ tests[0].config.meta.rule ~ " a severity instead of on_failure"
        ) }}
    {% endif %}
    {{ dpe.move_into_quarantine(relation, tests) }}
{% else %}
    {% set left_over = load_cached_relation(dpe.quarantine_of_this()) %}
    {% if left_over and '_quarantined_at' in adapter.get_columns_in_relation(left_over) | map(attribute='name') %}
    drop table {{ left_over }} cascade;
    {% endif %}
{% endif %}

{% endmacro %}
