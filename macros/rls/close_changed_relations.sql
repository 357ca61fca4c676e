{#
    Close relations whose protection was changed after the transaction that built them, as by a hook after the commit, or that others
    have taken the place of, and fail: an on-run-end hook, the first one. What happens within that transaction, PostgreSQL itself
    refuses to commit (dpe_cli/server/sql/protection.sql).

    Nodes that failed are looked at, too: a hook after the commit may have opened the relation before it raised. A hook may also have set
    something for the role, so that this session could change nothing: what matters is set here.
#}
{% macro close_changed_relations() %}

{% if execute and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'clone', 'retry', 'test'] %}
    {% set built = [] %}
    {% for result in results if result.status != 'skipped' and result.node.resource_type in ['model', 'seed', 'snapshot']
            and result.node.relation_name and not flags.EMPTY %}
        {% do built.append({
            'node': result.node.unique_id, 'relation': result.node.relation_name, 'built': result.status == 'success'
        }) %}
    {% endfor %}
    {% do run_query(
        "rollback; begin transaction read write; set local role none; set local statement_timeout = 0; set local lock_timeout = '30s'"
    ) %}
    {% set changed = run_query(
        "select node, differences from dpe.close_changed_relations('" ~ invocation_id ~ "', "
        ~ dbt.string_literal(dbt.escape_single_quotes(tojson(built))) ~ ")"
    ) %}
    {% do run_query('commit') %}
    {% set faults = [] %}
    {% for row in changed.rows %}
        {% do faults.append(row['node'].split('.')[2] ~ ": its protection was changed after it was built (" ~ row['differences'] ~ ")") %}
    {% endfor %}
    {% if faults %}
        {{ exceptions.raise_compiler_error(
            faults | join('; ') ~ ". What could be closed is closed to all readers; take that out of the hooks, and build it again: readers are "
            ~ "declared in meta.rls, other roles in grants"
        ) }}
    {% endif %}
{% endif %}

{% endmacro %}
