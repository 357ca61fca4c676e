{#
    Describe a relation's declared protection for dpe.protected_relations: its policies, and the roles that it is
    granted to.
#}
{% macro describe_protection(declaration, readers, masked=[], grants={}) -%}

{{ dpe.describe_policies(declaration, masked, readers) }}{{ ', readers ' ~ tojson(readers) if readers }}{{ ', grants ' ~ tojson(grants, sort_keys=true) if grants }}

{%- endmacro %}
