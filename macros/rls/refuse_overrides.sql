{#
    Refuse macros of the project that override dbt's own macros, or dbt's variables in Jinja: protection relies on these. dpe's own
    overrides are known by name and file. The macros for alias and database names, and generic tests, may be overridden. The first
    on-run-start hook; it calls no macro.
#}
{% macro refuse_overrides() %}

{% if execute %}
    {% set own = {
        'generate_schema_name': 'macros/generate_schema_name.sql',
        'ref': 'macros/publish/ref.sql',
        'postgres__get_table_columns_and_constraints': 'macros/publish/postgres__get_table_columns_and_constraints.sql',
        'postgres__make_relation_with_suffix': 'macros/publish/postgres__make_relation_with_suffix.sql',
        'postgres__create_indexes': 'macros/quality/postgres__create_indexes.sql',
        'postgres__get_test_sql': 'macros/quality/postgres__get_test_sql.sql',
        'postgres__alter_column_type': 'macros/rls/postgres__alter_column_type.sql',
        'postgres__alter_relation_add_remove_columns': 'macros/rls/postgres__alter_relation_add_remove_columns.sql',
        'postgres__apply_grants': 'macros/rls/postgres__apply_grants.sql',
        'postgres__create_table_as': 'macros/rls/postgres__create_table_as.sql',
        'postgres__create_view_as': 'macros/rls/postgres__create_view_as.sql',
    } %}
    {% set free = ['generate_alias_name', 'generate_database_name'] %}
    {% set names = [
        'adapter', 'api', 'builtins', 'config', 'context', 'dbt', 'env_var', 'exceptions', 'execute', 'flags', 'fromjson', 'fromyaml',
        'graph', 'invocation_id', 'load_result', 'local_md5', 'log', 'model', 'modules', 'post_hooks', 'pre_hooks', 'print',
        'project_name', 'ref', 'render', 'results', 'return', 'schema', 'selected_resources', 'source', 'sql', 'sql_now', 'store_raw_result',
        'store_result', 'target', 'this', 'tojson', 'toyaml', 'try_or_compiler_error', 'var', 'write',
    ] %}
    {% for name in context['dbt'] %}
        {% set base = name.split('__', 1)[1] if name.startswith('default__') or name.startswith('postgres__') else name %}
        {% if base not in free and not base.startswith('test_') and not base.startswith('materialization_') %}
            {% do names.extend([base, 'default__' ~ base, 'postgres__' ~ base]) %}
        {% endif %}
    {% endfor %}
    {% for name in names if context.get(name).macro is defined %}
        {% set macro = context.get(name).macro %}
        {% if macro.package_name not in ['dbt', 'dbt_postgres'] and own.get(name) != macro.original_file_path %}
            {{ exceptions.raise_compiler_error(
                name ~ " (" ~ macro.original_file_path ~ "): overrides a macro or a variable of dbt that protection relies on; "
                ~ "give the macro another name"
            ) }}
        {% endif %}
    {% endfor %}
{% endif %}

{% endmacro %}
