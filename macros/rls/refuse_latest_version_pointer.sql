{#
    Refuse the view that dbt would make of a model's latest version (refuse_latest_version_pointers).
#}
{% macro refuse_latest_version_pointer(node) %}

{{ exceptions.raise_compiler_error(
    node.name ~ ".v" ~ node.version ~ " (" ~ node.original_file_path ~ "): latest_version_pointer has dbt create a view that no model declares, "
    ~ "in the place of any relation of its name; write latest_version_pointer: {enabled: false}, and give the version that name itself, such "
    ~ "as config: {alias: " ~ node.name ~ "}"
) }}

{% endmacro %}
