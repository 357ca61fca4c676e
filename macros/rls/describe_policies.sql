{#
    Say what the policies of a declaration are, for a comment on one: the declaration, and a digest of the conditions and masks. A table
    that is kept from run to run is protected anew where this changes; `dpe rls check` reads what it declares.
#}
{% macro describe_policies(declaration, masked=[]) -%}

{%- set kind, value = declaration.items() | first -%}
{%- set said = value | join(', ') if value is sequence and value is not string and value is not mapping else value -%}
{{ kind }} {{ said | string | replace("'", "") }}, {{ local_md5(rls_predicate(declaration, 'system') ~ rls_predicate(declaration, 'reader') ~ ' to masked readers ' ~ masked | join(', ') ~ (rls_predicate(declaration, 'mask') if masked else '')) }}

{%- endmacro %}
