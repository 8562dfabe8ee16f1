"""The HTML of Bookinfo's product page."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

Part = tuple[int, Any]
"""Status and JSON of what a service said about the book; the JSON has `error` when the status is not 200."""


def page(title: str, body: str) -> str:
    """A whole document."""
    return f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{body}</body></html>"


def product_page(product: Mapping[str, Any], user: str, details: Part, reviews: Part) -> str:
    """The page: who is signed in, the book, its details and its reviews with the pod that served them."""
    return page("Simple Bookstore App", _header(product, user) + _details(details) + _reviews(reviews))


def _header(product: Mapping[str, Any], user: str) -> str:
    title = f"<h3>{product['title']}</h3><p>Summary: {product['descriptionHtml']}</p>"
    if user:
        return f'<p>{html.escape(user)} (<a href="logout">sign out</a>)</p>{title}'
    form = '<form method="post" action="login"><input name="username"><button>Sign in</button></form>'
    return form + title


def _failure(what: str, answer: Any) -> str:
    return f"<h4>Error fetching product {what}!</h4><p>{html.escape(str(answer['error']))}</p>"


def _details(part: Part) -> str:
    status, book = part
    if status != 200:
        return _failure("details", book)
    rows = ((name.capitalize(), book.get(name)) for name in ("type", "pages", "publisher", "language"))
    isbns = ((name, book.get(name)) for name in ("ISBN-10", "ISBN-13"))
    items = "".join(f"<dt>{name}:</dt><dd>{html.escape(str(value))}</dd>" for name, value in (*rows, *isbns))
    return f"<h4>Book Details</h4><dl>{items}</dl>"


def _reviews(part: Part) -> str:
    status, answer = part
    if status != 200:
        return _failure("reviews", answer)
    served = f"{answer.get('podname')} on cluster {answer.get('clustername')}"
    reviews = "".join(_review(review) for review in answer.get("reviews", []))
    return f"<h4>Book Reviews</h4>{reviews}<p>Reviews served by: <u>{html.escape(served)}</u></p>"


def _review(review: Mapping[str, Any]) -> str:
    rating = review.get("rating", {})
    stars = ""
    if "error" in rating:
        stars = f"<p><i>{html.escape(rating['error'])}</i></p>"
    elif rating:
        full = min(5, max(0, int(rating["stars"])))
        icons = '<span class="glyphicon glyphicon-star"></span>' * full
        icons += '<span class="glyphicon glyphicon-star-empty"></span>' * (5 - full)
        stars = f'<font color="{html.escape(rating["color"])}">{icons}</font>'
    text, reviewer = html.escape(review["text"]), html.escape(review["reviewer"])
    return f"<blockquote><p>{text}</p><small>{reviewer}</small>{stars}</blockquote>"
