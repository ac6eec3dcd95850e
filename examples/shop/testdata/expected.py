#!/usr/bin/env python3
"""Computes what the shop's read models hold after the seed, straight from the
file: python3 expected.py [online-retail-sample.csv] > expected.json

This is the independent half of a check, so it shares nothing with the Go code:
it is written from the description of the example. Fields that hold a time, or a
place in an event log, are left out. Rows are sorted by id, then by sub id.
"""

import csv
import json
import os
import sys
from decimal import Decimal


def pence(pounds):
    exact = Decimal(pounds) * 100
    if exact != int(exact):
        raise ValueError(f"{pounds} pounds are not whole pence")
    return int(exact)


def expected(path):
    with open(path, encoding="utf-8-sig", newline="") as f:
        rows = list(csv.DictReader(f))

    # An invoice without a customer is not a sale: all its lines are left out.
    rows = [r for r in rows if r["CustomerID"] != ""]

    # A stock code becomes a product at its first line; the price is the last one,
    # and the history has an entry each time that it differs from the one before.
    products, history = {}, {}
    for r in rows:
        code, price = r["StockCode"], pence(r["UnitPrice"])
        if code not in products:
            products[code] = {
                "productId": code,
                "name": r["Description"],
                "price": price,
                "discontinued": False,
            }
            history[code] = [price]
        elif history[code][-1] != price:
            products[code]["price"] = price
            history[code].append(price)

    invoices = {}
    for r in rows:
        invoices.setdefault(r["InvoiceNo"], []).append(r)

    orders, order_lines, customers, demand, countries = {}, {}, {}, {}, {}
    for number, lines in invoices.items():
        who, where = lines[0]["CustomerID"], lines[0]["Country"]
        back = number.startswith("C")
        merged = {}
        for r in lines:
            units = -int(r["Quantity"]) if back else int(r["Quantity"])
            price = pence(r["UnitPrice"])
            assert units > 0 and price >= 0, f"{number}: {r}"
            if r["StockCode"] in merged:
                assert merged[r["StockCode"]][1] == price, f"{number}: two prices: {r}"
                merged[r["StockCode"]][0] += units
            else:
                merged[r["StockCode"]] = [units, price]
        total = sum(units * price for units, price in merged.values())

        customer = customers.setdefault(
            who, {"customerId": who, "orders": 0, "spent": 0, "returns": 0, "returned": 0}
        )
        country = countries.setdefault(
            where, {"country": where, "orders": 0, "revenue": 0, "returned": 0}
        )
        for code, (units, _) in merged.items():
            d = demand.setdefault(code, {"productId": code, "sold": 0, "returned": 0})
            d["returned" if back else "sold"] += units
        if back:
            customer["returns"] += 1
            customer["returned"] += total
            country["returned"] += total
            continue
        customer["orders"] += 1
        customer["spent"] += total
        country["orders"] += 1
        country["revenue"] += total
        # Every line is paid for and shipped, so every order is completed.
        orders[number] = {
            "orderId": number,
            "customerId": who,
            "status": "completed",
            "total": total,
            "lines": len(merged),
        }
        for code, (units, price) in merged.items():
            order_lines[number, code] = {
                "orderId": number,
                "customerId": who,
                "productId": code,
                "quantity": units,
                "unitPrice": price,
                "shipped": True,
            }

    def by_id(table):
        return [table[key] for key in sorted(table)]

    return {
        "Products": by_id(products),
        "PriceHistory": [
            {"productId": code, "price": price} for code in sorted(history) for price in history[code]
        ],
        "Orders": by_id(orders),
        "OrderLines": by_id(order_lines),
        "CustomerTotals": by_id(customers),
        "ProductDemand": by_id(demand),
        "SalesByCountry": by_id(countries),
        "Listings": [
            {"productId": p["productId"], "name": p["name"], "price": p["price"]}
            for p in by_id(products)
        ],
    }


if __name__ == "__main__":
    here = os.path.dirname(os.path.abspath(__file__))
    path = sys.argv[1] if len(sys.argv) > 1 else os.path.join(here, "online-retail-sample.csv")
    json.dump(expected(path), sys.stdout, indent=1, ensure_ascii=False)
    print()
