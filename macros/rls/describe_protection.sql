{#
    Describe a relation's declared protection for dpe.protected_relations: its policies, and the roles in its `grants`.
#}
{% macro describe_protection(declaration, masked=[], grants={}) -%}

{{ dpe.describe_policies(declaration, masked) }}{{ ', grants ' ~ tojson(grants, sort_keys=true) if grants }}

{%- endmacro %}
