-- What another tool loads into the warehouse.
create schema raw_shop;

create table raw_shop.customers (
    customer_id integer primary key,
    name text,
    country text,
    email text,
    copied_at timestamptz default now()
);

create table raw_shop.orders (
    order_id integer primary key,
    customer_id integer,
    ordered_on date,
    status text,
    copied_at timestamptz default now()
);

create table raw_shop.order_lines (
    order_id integer,
    line integer,
    article text,
    price_in_cents integer,
    copied_at timestamptz default now(),
    primary key (order_id, line)
);

insert into raw_shop.customers (customer_id, name, country, email)
select number, 'Customer ' || number, (array['de', 'fr', 'nl'])[1 + number % 3], 'c' || number || '@mail.example'
from generate_series(1, 30) as numbers (number);

insert into raw_shop.orders (order_id, customer_id, ordered_on, status)
select number, 1 + number % 25, date '2025-12-20' + number % 200, (array['placed', 'shipped', 'shipped', 'returned'])[1 + number % 4]
from generate_series(1, 400) as numbers (number);

insert into raw_shop.order_lines (order_id, line, article, price_in_cents)
select number, line, 'article ' || line, 1000 * line + number
from generate_series(1, 400) as numbers (number)
cross join generate_series(1, 3) as lines (line)
where line <= 1 + number % 3;
