{#
    Put a table under forced row-level security with the policies of its declaration, and grant it to who may see it.
    Says the same again where it is said already.
#}
{% macro protect_table(relation, declaration) %}

{{ require_context() }}

alter table {{ relation }} enable row level security, force row level security;

drop policy if exists dpe_system on {{ relation }};
create policy dpe_system on {{ relation }} for all to dpe_transformer
using ({{ system_predicate(declaration) }}) with check ({{ system_predicate(declaration) }});

drop policy if exists dpe_admin on {{ relation }};
create policy dpe_admin on {{ relation }} for select to dpe_owner
using ({{ system_predicate(declaration) }});
grant select on {{ relation }} to dpe_owner;

drop policy if exists dpe_reader on {{ relation }};
{% if declaration.private %}
revoke all on {{ relation }} from dpe_reader;
{% else %}
create policy dpe_reader on {{ relation }} for select to dpe_reader
using ({{ reader_predicate(declaration) }});
grant select on {{ relation }} to dpe_reader;
{% endif %}

comment on policy dpe_system on {{ relation }} is '{{ describe_policies(declaration) }}';

{% if declaration.tenant_column %}
{{ index_tenant_column(relation, declaration.tenant_column) }}
{% endif %}

{% endmacro %}
