{#
    Return the roles that a node's relation is granted to in this target, from its `meta.readers`: none if that does not name the target,
    or if the declaration is private. A relation with another declaration has to say which targets publish it to readers.

    Applications, which act as dpe_tenant, read what somebody reads unmasked. As a member of dpe_reader, dpe_tenant needs no grant of its own.
#}
{% macro readers_of(node, declaration) %}

{% set readers = (node.config.meta or {}).get('readers') %}
{% if declaration.private %}
    {{ return([]) }}
{% endif %}
{% set where = node.name ~ " (" ~ node.original_file_path ~ ")" %}
{% set example = "{prod: [dpe_reader, dpe_masked_reader]}" %}
{% if readers is none or readers is undefined %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.rls says which rows readers may see, but nothing says which targets publish it to readers; write it under "
        ~ node.resource_type ~ "s: in dbt_project.yml, such as +meta: {readers: " ~ example ~ "}"
    ) }}
{% elif readers is not mapping %}
    {{ exceptions.raise_compiler_error(where ~ ": meta.readers is " ~ readers ~ "; write the roles of each target, such as " ~ example) }}
{% endif %}
{% for target_name, roles in readers.items() %}
    {% if roles is string or roles is mapping or roles is not sequence or roles | select('string') | list | length != roles | length %}
        {{ exceptions.raise_compiler_error(
            where ~ ": meta.readers." ~ target_name ~ " is " ~ roles ~ "; write a list of roles, such as " ~ example
        ) }}
    {% endif %}
{% endfor %}
{% set named = readers.get(target.name, []) | unique(case_sensitive=true) | list %}
{% if named and 'dpe_reader' not in named and dbt.run_query(
    "select 1 from pg_roles where rolname = any (" ~ dpe.array_of_names(named) ~ ") and not pg_has_role(oid, 'dpe_masked_reader', 'member')"
) | length %}
    {% do named.append('dpe_tenant') %}
{% endif %}
{{ return(named | unique(case_sensitive=true) | sort(case_sensitive=true)) }}

{% endmacro %}
