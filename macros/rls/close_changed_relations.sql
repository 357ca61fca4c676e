{#
    Close relations whose protection was changed after the transaction that built them, as by a hook after the commit, or that others
    have taken the place of, and fail: an on-run-end hook, the first one. What happens within that transaction, PostgreSQL itself
    refuses to commit (dpe_cli/sql/protection.sql).
#}
{% macro close_changed_relations() %}

{% if execute and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'clone', 'retry', 'test'] %}
    {% set built = [] %}
    {% for result in results if result.status == 'success' and result.node.resource_type in ['model', 'seed', 'snapshot']
            and result.node.relation_name and not flags.EMPTY %}
        {% do built.append({'node': result.node.unique_id, 'relation': result.node.relation_name}) %}
    {% endfor %}
    {% set changed = run_query(
        "select node, differences from dpe.close_changed_relations('" ~ invocation_id ~ "', "
        ~ dbt.string_literal(dbt.escape_single_quotes(tojson(built))) ~ ")"
    ) %}
    {% set faults = [] %}
    {% for row in changed.rows %}
        {% do faults.append(row['node'].split('.')[2] ~ ": its protection was changed after it was built (" ~ row['differences'] ~ ")") %}
    {% endfor %}
    {% if faults %}
        {% do run_query('commit') %}
        {{ exceptions.raise_compiler_error(
            faults | join('; ') ~ ". It is closed to all readers; take that out of the hooks, and build it again: readers are declared "
            ~ "in meta.rls, other roles in grants"
        ) }}
    {% endif %}
{% endif %}

{% endmacro %}
