{#
    Return whether a declaration is valid: it says in exactly one way who may see a relation.
#}
{% macro is_rls_declaration(declaration) %}

{% if declaration is not mapping or declaration | length != 1 %}
    {{ return(false) }}
{% endif %}
{% set kind, value = declaration.items() | first %}
{% if kind in ['shared', 'private'] %}
    {{ return(value is sameas true) }}
{% elif kind == 'role_column' or (kind == 'tenant_column' and value is string) %}
    {{ return(value is string and value != '') }}
{% elif kind == 'tenant_column' %}
    {{ return(value is sequence and value is not mapping and value | length > 0 and value | select('string') | list | length == value | length) }}
{% elif kind == 'access' and value is mapping %}
    {% set words = ['model', 'column', 'role_column', 'key'] %}
    {{ return(
        value | select('in', words) | list | length == value | length
        and value.values() | select('string') | list | length == value | length
        and value.model is defined and value.column is defined and value.role_column is defined
    ) }}
{% endif %}
{{ return(false) }}

{% endmacro %}
