{#
    Close relations that were replaced, or whose protection was changed, after the transaction that built them (for example by a hook
    after the commit), and fail: the first on-run-end hook. PostgreSQL itself refuses to commit changes within that transaction
    (dpe_cli/server/sql/protection.sql).

    Failed nodes are checked, too: a hook after the commit may have opened the relation before it raised. A hook may also have changed the
    role's settings so that this session could not change anything; the relevant ones are set here.
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
    {% do dbt.run_query(
        "rollback; begin transaction read write; set local role none; set local statement_timeout = 0; set local lock_timeout = '30s'; "
        ~ "set local standard_conforming_strings = on; set local quote_all_identifiers = off; set local client_encoding = 'UTF8'"
    ) %}
    {% set changed = dbt.run_query(
        "select node, differences from dpe.close_changed_relations('" ~ invocation_id ~ "', "
        ~ dpe.literal_of(tojson(built)) ~ ")"
    ) %}
    {% do dbt.run_query('commit') %}
    {% set faults = [] %}
    {% for row in changed.rows %}
        {% do faults.append(row['node'].split('.')[2] ~ ": its protection was changed after it was built (" ~ row['differences'] ~ ")") %}
    {% endfor %}
    {% if faults %}
        {{ exceptions.raise_compiler_error(
            faults | join('; ') ~ ". These relations were closed to all readers, as far as possible; remove that from the hooks, and build again: name readers "
            ~ "in meta.readers, other roles in grants"
        ) }}
    {% endif %}
{% endif %}

{% endmacro %}
