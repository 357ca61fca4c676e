{#
    Store the results of this run's tests, and the rows that failed them: an on-run-end hook. One statement stores them all;
    only tests with failing rows run once more, until they have as many rows as are kept.
    dbt has no open transaction at this point, so the statement is its own transaction.
    If the database has no ledger, this logs a message, and the outcome of the run does not change.
#}
{% macro remember_rules() %}

{% if execute and not flags.EMPTY %}
    {% set tests = results | selectattr('node.resource_type', 'equalto', 'test') | rejectattr('status', 'equalto', 'skipped') | list %}
    {% if tests %}
        {% set rows_built = dpe.rows_of_built_tables(results) %}
        {% set keys = dpe.keys_of_models() %}
        {% set found = [] %}
        {% for test in tests %}
            {# No index can hold a name of thousands of characters. #}
            {% if test.node.unique_id | length > 500 %}
                {% do log(test.node.name[:100] ~ "…: its result was not stored, because its name is too long; give it a shorter one", info=true) %}
            {% else %}
                {% do found.append(dpe.rule_result(test, rows_built, keys)) %}
            {% endif %}
        {% endfor %}
        {% if dpe.has_memory_of_rules() %}
            {% set unstored = dbt.run_query(
                "select test, problem from dpe.remember_rules('" ~ invocation_id ~ "', "
                ~ dpe.literal_of(tojson(found)) ~ ", current_schemas(false))"
            ) %}
            {% set known = graph.nodes.values() | selectattr('resource_type', 'equalto', 'test') | map(attribute='unique_id') | list %}
            {# The names of tests are their authors' and may hold quotes and commas. #}
            {% do dbt.run_query(
                "select dpe.resolve_failures_of_other_tests(" ~ dpe.literal_of(project_name) ~ ", array(select jsonb_array_elements_text("
                ~ dpe.literal_of(tojson(known)) ~ "::jsonb)))"
            ) %}
            {% for row in unstored.rows %}
                {% do log(row['test'] ~ ": its failing rows were not stored (" ~ row['problem'] ~ ")", info=true) %}
            {% endfor %}
        {% else %}
            {% do log("The results of rules were not stored: the database is not bootstrapped for this version of dpe; run `dpe bootstrap`", info=true) %}
        {% endif %}
    {% endif %}
{% endif %}

{% endmacro %}
