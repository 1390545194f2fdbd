"""MariaDB, whose server speaks first, through L4 forwarding: mariadb_client.py PORT"""

import sys

import pymysql

from cases import case, expect, main

PORT = int(sys.argv[1])


def connect(**options):
    return pymysql.connect(host="127.0.0.1", port=PORT, user="root", autocommit=True, **options)


@case
def mariadb_greets_first():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("select 1 + 1")
        expect(cursor.fetchone(), (2,))


@case
def mariadb_thousand_rows():
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("create database shop")
        cursor.execute("create table shop.item (id int primary key, name varchar(100))")
        cursor.executemany("insert into shop.item values (%s, %s)", [(i, f"item {i}") for i in range(1000)])
        cursor.execute("select count(*), max(name) from shop.item")
        expect(cursor.fetchone(), (1000, "item 999"))


@case
def mariadb_rolls_back():
    with connect() as connection, connection.cursor() as cursor:
        connection.begin()
        cursor.execute("delete from shop.item")
        connection.rollback()
        cursor.execute("select count(*) from shop.item")
        expect(cursor.fetchone(), (1000,))


@case
def mariadb_large_values():
    value = "x" * 8_000_000
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute("create table shop.large (value longtext)")
        cursor.execute("insert into shop.large values (%s)", [value])
        cursor.execute("select value from shop.large")
        expect(cursor.fetchone()[0] == value, True)


@case
def mariadb_twenty_connections_at_once():
    connections = [connect() for _ in range(20)]
    ids = set()
    for connection in connections:
        with connection.cursor() as cursor:
            cursor.execute("select connection_id()")
            ids.add(cursor.fetchone())
        connection.close()
    expect(len(ids), 20)


main()
