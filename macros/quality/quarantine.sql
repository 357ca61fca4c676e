{#
    Take the rows that break a rule with `on_failure: quarantine` out of the table that is being built, and put them into
    `<model>__quarantine`, with the ids of the rules and under the same policies. In the transaction that builds the table, so that
    no session ever sees these rows in it. A table is built again from scratch each time, so a row that was corrected comes back
    by itself. `relation` is where the table is while dbt builds it.

    More rows than `quarantine: {max_rows: …, max_ratio: …}` of a rule's meta allows (5 % by default) fail the build: that is
    no longer some bad rows, but a bad delivery.
#}
{% macro quarantine(relation) %}

{% set tests = quarantining_tests() %}
{% if tests %}
    {% if config.get('materialized') != 'table' %}
        {{ exceptions.raise_compiler_error(
            model.name ~ " (" ~ model.original_file_path ~ "): only a table can have rows in quarantine, for it is built anew each time; "
            ~ "make it one, or give rule " ~ tests[0].config.meta.rule ~ " a severity in place of on_failure"
        ) }}
    {% endif %}
    {{ move_into_quarantine(relation, tests) }}
{# A longer name has no room for that of a quarantine. #}
{% elif this.identifier | length <= 51 %}
    {% set left_over = load_cached_relation(quarantine_of_this()) %}
    {% if left_over and '_quarantined_at' in adapter.get_columns_in_relation(left_over) | map(attribute='name') %}
    drop table {{ left_over }} cascade;
    {% endif %}
{% endif %}

{% endmacro %}
