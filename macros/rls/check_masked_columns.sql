{#
    Refuse a mask that would hide nothing, or that the policies look behind.
#}
{% macro check_masked_columns(masked, declaration) %}

{% set where = model.name ~ " (" ~ model.original_file_path ~ ")" %}
{% set columns = adapter.get_columns_in_relation(this) | map(attribute='name') | list %}

{% if config.get('materialized') == 'view' %}
    {{ exceptions.raise_compiler_error(where ~ ": meta.masked is for tables; a view shows what the tables below it do, mask the columns there") }}
{% elif declaration.private %}
    {{ exceptions.raise_compiler_error(where ~ ": meta.masked hides columns from readers, and no reader sees a private relation; leave one out") }}
{% elif this.identifier | length > 55 %}
    {{ exceptions.raise_compiler_error(where ~ ": its name leaves no room for that of the masked view, " ~ this.identifier ~ "__masked; shorten it") }}
{% endif %}
{% for name in masked %}
    {% if name not in columns %}
        {{ exceptions.raise_compiler_error(where ~ ": meta.masked names the column " ~ name ~ "; name one of its columns (" ~ columns | join(', ') ~ ")") }}
    {% elif name in policy_columns(declaration) %}
        {{ exceptions.raise_compiler_error(where ~ ": meta.masked hides the column " ~ name ~ ", by which a reader knows whose a row is; mask others") }}
    {% endif %}
{% endfor %}

{% endmacro %}
