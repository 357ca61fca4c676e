{#
    Refuse a project in which dbt would not call dpe's macros, or in which a macro of the project would be called instead of one of dbt's
    that protection relies on, or of one of dbt's variables in Jinja. The first on-run-start hook.

    A project may have its own macros for names of schemas, aliases and databases, its own `ref` and `source`, generic tests, and those
    that dpe's macros call (next_implementation). It may also have its own forms of those of dbt's cross-database macros (macros/utils in
    dbt) that only models call, and of `equals` and `string_literal`, as dbt's own tests of adapters do: these change which rows a snapshot
    or an incremental model replaces, and what a unit test compares, but not what is protected. The others are part of contracts (cast) and
    of the texts that dbt quotes (escape_single_quotes, safe_cast). Macros of other packages count for the nodes of these packages, which
    call them; such a package may have its own `run_query`, as Elementary does: dpe's macros call dbt's by its full name, and dbt asks nothing
    with it that protection relies on.
#}
{% macro refuse_overrides() %}

{% if execute %}
    {% set dispatched = [
        'alter_column_type', 'alter_relation_add_remove_columns', 'apply_grants', 'create_indexes', 'create_schema', 'create_table_as',
        'create_view_as', 'get_test_sql', 'make_backup_relation', 'make_intermediate_relation', 'make_temp_relation', 'test_not_null',
        'test_relationships',
    ] %}
    {# dbt reads calls of `adapter.dispatch` itself only with constants. #}
    {% set dispatch = adapter.dispatch %}
    {% for name in dispatched if dispatch(name, 'dbt').macro.unique_id != 'macro.dpe.postgres__' ~ name %}
        {{ exceptions.raise_compiler_error(
            "dbt_project.yml: dbt does not call dpe's macro for " ~ name ~ ", so nothing would be protected; write "
            ~ "`dispatch: [{macro_namespace: dbt, search_order: [dpe, " ~ project_name ~ ", dbt]}]`"
        ) }}
    {% endfor %}
    {% set called = ['create_indexes', 'create_table_as', 'create_view_as', 'get_test_sql'] %}
    {% set free = [
        'generate_alias_name', 'generate_database_name', 'generate_schema_name', 'ref', 'source',
        'any_value', 'array_append', 'array_concat', 'array_construct', 'bool_or', 'cast_bool_to_text', 'concat', 'date', 'date_spine',
        'date_trunc', 'dateadd', 'datediff', 'equals', 'except', 'generate_series', 'get_intervals_between',
        'get_powers_of_two', 'hash', 'intersect', 'last_day', 'length', 'listagg', 'position', 'replace', 'right', 'split_part', 'string_literal',
        'type_bigint', 'type_boolean', 'type_float', 'type_int', 'type_numeric', 'type_string', 'type_timestamp',
    ] %}
    {% set names = [
        'adapter', 'api', 'builtins', 'config', 'context', 'dbt', 'dpe', 'env_var', 'exceptions', 'execute', 'flags', 'fromjson', 'fromyaml',
        'graph', 'invocation_id', 'load_result', 'local_md5', 'log', 'model', 'modules', 'post_hooks', 'pre_hooks', 'print',
        'project_name', 'render', 'results', 'return', 'schema', 'selected_resources', 'sql', 'sql_now', 'store_raw_result', 'store_result',
        'target', 'this', 'tojson', 'toyaml', 'try_or_compiler_error', 'var', 'write',
    ] %}
    {% set prefixed = ['postgres__rls_predicate', 'default__rls_predicate'] %}
    {% for name in context['dbt'] %}
        {% set base = name.split('__', 1)[1] if name.startswith('default__') or name.startswith('postgres__') else name %}
        {% if base not in free and not base.startswith('test_') and not base.startswith('materialization_') %}
            {% do names.append(base) %}
            {% do prefixed.extend(['default__' ~ base, 'postgres__' ~ base] if base not in called else []) %}
        {% endif %}
    {% endfor %}
    {% set building = [project_name] %}
    {% for unique_id in selected_resources %}
        {% do building.append(unique_id.split('.')[1]) %}
    {% endfor %}
    {% for package in building | unique if package != 'dpe' %}
        {% set own = context.get(package, {}) %}
        {% for name in own if (name in names and not (name == 'run_query' and package != project_name))
                or (package == project_name and name in prefixed) %}
            {{ exceptions.raise_compiler_error(
                name ~ " (" ~ own[name].macro.original_file_path ~ "): overrides a macro or a variable of dbt that protection relies on; "
                ~ "give the macro another name"
            ) }}
        {% endfor %}
    {% endfor %}
{% endif %}

{% endmacro %}
