{#
    Refuse rows whose tenant is the empty text: it is not a tenant, so that no reader could see them, and their absence would go unnoticed.
#}
{% macro refuse_empty_tenant(relation, column) %}

{% call dpe.do_block() %}
begin
    if exists (select from {{ relation }} where {{ dpe.quote_name(column) }} = '') then
        raise exception '%', {{ dpe.literal_of(relation.schema ~ '.' ~ relation.identifier ~ ': has rows with an empty ' ~ column ~ ', its tenant column') }}
            using errcode = 'not_null_violation',
            hint = 'Filter them out, give them a tenant, or quarantine them with a rule (on_failure: quarantine).';
    end if;
end
{% endcall %}

{% endmacro %}
