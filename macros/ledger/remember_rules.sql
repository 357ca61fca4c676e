{#
    Remember what the tests of this run found, and the rows that broke them: an on-run-end hook. One statement for all of
    them; only tests that found something run once more, until they have as many rows as are kept.
    dbt is in no transaction then, so that the statement is one of its own.
    Where the database has no ledger to write to, it says so, and the run is what it is.
#}
{% macro remember_rules() %}

{% if execute and not flags.EMPTY %}
    {% set tests = results | selectattr('node.resource_type', 'equalto', 'test') | rejectattr('status', 'equalto', 'skipped') | list %}
    {% if tests %}
        {% set rows_built = rows_of_built_tables(results) %}
        {% set keys = keys_of_models() %}
        {% set found = [] %}
        {% for test in tests %}
            {% do found.append(rule_result(test, rows_built, keys)) %}
        {% endfor %}
        {% if has_memory_of_rules() %}
            {% set said = run_query(
                "select test, problem from dpe.remember_rules('" ~ invocation_id ~ "', "
                ~ dbt.string_literal(dbt.escape_single_quotes(tojson(found))) ~ ", current_schemas(false))"
            ) %}
            {% set known = graph.nodes.values() | selectattr('resource_type', 'equalto', 'test') | map(attribute='unique_id') | list %}
            {% do run_query(
                "select dpe.resolve_failures_of_other_tests('" ~ project_name ~ "', '{" ~ known | join(',') ~ "}')"
            ) %}
            {% for row in said.rows %}
                {% do log(row['test'] ~ ": its failing rows are not kept, its query cannot run any more (" ~ row['problem'] ~ ")", info=true) %}
            {% endfor %}
        {% else %}
            {% do log("The results of rules are not remembered: the database is not bootstrapped for this version of dpe; run `dpe bootstrap`", info=true) %}
        {% endif %}
    {% endif %}
{% endif %}

{% endmacro %}
