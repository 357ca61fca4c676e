{#
    Say what a relation was declared to be, for dpe.protected_relations: its policies, and the roles that its `grants` name.
#}
{% macro describe_protection(declaration, masked=[], grants={}) -%}

{{ describe_policies(declaration, masked) }}{{ ', grants ' ~ tojson(grants, sort_keys=true) if grants }}

{%- endmacro %}
