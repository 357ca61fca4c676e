{#
    Return the columns of a node that masked readers see nothing of, as its `meta.masked` lists them.
#}
{% macro masked_columns(node) %}

{% set masked = (node.config.meta or {}).get('masked') or [] %}
{% if masked is string or masked is mapping or masked is not sequence or masked | select('string') | list | length != masked | length %}
    {{ exceptions.raise_compiler_error(
        node.name ~ " (" ~ node.original_file_path ~ "): meta.masked is " ~ masked ~ "; write a list of columns, as [tailnum, passenger]"
    ) }}
{% endif %}
{{ return(masked) }}

{% endmacro %}
