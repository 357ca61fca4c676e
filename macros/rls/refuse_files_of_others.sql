{#
    Refuse a version of a model in a file that may be another model's: dbt would take that model's file for this one, drop its declaration
    and its tests with a warning, and replace its relation. `defined_in` names any file, and so does a version that is not a number: dbt
    looks for the version `alid` of orders in orders_valid.sql. A file orders_v2.sql that was published as a model of its own is not a
    version of orders. An on-run-start hook: nothing is built yet. `dpe run` looks before it loads (dpe_cli/pipeline/destinations.py).
#}
{% macro refuse_files_of_others() %}

{% if execute %}
    {% set taken = {} %}
    {% for node in graph.nodes.values() if node.resource_type == 'model' and node.version is not none and node.package_name == project_name %}
        {% set numbered = node.name ~ '_v' ~ node.version %}
        {% set is_number = modules.re.fullmatch('[0-9]+([.][0-9]+)*', node.version | string) is not none %}
        {% set stem = node.original_file_path.replace('\\', '/').split('/')[-1].rsplit('.', 1)[0] %}
        {% if stem != node.name and (stem != numbered or not is_number) %}
            {{ exceptions.raise_compiler_error(
                node.name ~ ".v" ~ node.version ~ " (" ~ node.original_file_path ~ "): the file may be another model's, which would lose its "
                ~ "declaration and its tests; " ~ (
                    "name it " ~ numbered ~ ".sql" if is_number
                    else "give the version a number, or name its file " ~ node.name ~ ".sql (defined_in: " ~ node.name ~ ")"
                )
            ) }}
        {% elif stem != node.name %}
            {% do taken.update({'model.' ~ node.package_name ~ '.' ~ stem: node}) %}
        {% endif %}
    {% endfor %}
    {% if taken and flags.WHICH in ['build', 'run', 'seed', 'snapshot', 'clone', 'retry'] %}
        {% for row in run_query(
            "select node, format('%I.%I', nspname, relname) as relation from dpe.protected_relations "
            ~ "inner join pg_class on pg_class.oid = relation_id inner join pg_namespace on pg_namespace.oid = relnamespace "
            ~ "where node = any(" ~ dpe.array_of_names(taken) ~ "::text[]) and nspname !~ '__(next|previous|old_[0-9]+)$' order by 1, 2"
        ).rows %}
            {% set node = taken[row['node']] %}
            {{ exceptions.raise_compiler_error(
                node.name ~ ".v" ~ node.version ~ " (" ~ node.original_file_path ~ "): the file was that of the model "
                ~ row['node'].split('.')[2] ~ ", with its own declaration, and is published as " ~ row['relation']
                ~ "; give the version a file of its own, or drop that relation if the model is gone"
            ) }}
        {% endfor %}
    {% endif %}
{% endif %}

{% endmacro %}
