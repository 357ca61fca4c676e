{#
    Refuse grants to dpe's own roles: who reads is said by `meta.rls`, and to others rows are shown by no policy.
#}
{% macro check_grants(grants) %}

{% set own = ['dpe_owner', 'dpe_loader', 'dpe_transformer', 'dpe_reader', 'dpe_masked_reader', 'dpe_auditor', 'dpe_tenant', 'public'] %}
{% for privilege, grantees in grants.items() %}
    {% for grantee in ([grantees] if grantees is string else grantees) if grantee | lower in own %}
        {{ exceptions.raise_compiler_error(
            model.name ~ " (" ~ model.original_file_path ~ "): grants names " ~ grantee ~ " for " ~ privilege
            ~ "; declare in meta.rls who may see it, and name other roles in grants"
        ) }}
    {% endfor %}
{% endfor %}

{% endmacro %}
