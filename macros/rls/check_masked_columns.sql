{#
    Refuse a mask that would hide nothing, that hides a column which policies need, or whose values other columns reveal.
#}
{% macro check_masked_columns(masked, declaration) %}

{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}
{% set columns = adapter.get_columns_in_relation(this) | map(attribute='name') | list %}

{% if config.get('materialized') == 'view' %}
    {{ exceptions.raise_compiler_error(where ~ ": meta.masked is for tables; mask the columns in the tables that the view reads") }}
{% elif declaration.private %}
    {{ exceptions.raise_compiler_error(where ~ ": meta.masked hides columns from readers, but readers cannot see a private relation; remove one of the two") }}
{% endif %}
{% for name in masked %}
    {% if name not in columns %}
        {{ exceptions.raise_compiler_error(where ~ ": meta.masked names the column " ~ name ~ "; name one of its columns (" ~ columns | join(', ') ~ ")") }}
    {% elif name in dpe.policy_columns(declaration) %}
        {{ exceptions.raise_compiler_error(where ~ ": meta.masked hides the column " ~ name ~ ", which identifies the owner of a row; mask others") }}
    {% endif %}
{% endfor %}
{% set revealing = dpe.columns_that_reveal(masked, columns) %}
{% set missing = revealing.keys() | reject('in', masked) | sort %}
{% if missing %}
    {{ exceptions.raise_compiler_error(
        where ~ ": meta.masked hides the column " ~ revealing[missing[0]] ~ ", which can be read or guessed from what dbt makes of it; also mask "
        ~ missing | join(', ')
    ) }}
{% endif %}

{% endmacro %}
