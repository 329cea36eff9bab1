"""A Django application as it comes: models, transactions, locks, iterators, in several threads with a
connection each."""

import os
import threading

import django
from django.conf import settings

CONNECTIONS = 6


def database(**options):
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["PGHOST"],
        "PORT": os.environ["PGPORT"],
        "USER": os.environ["PGUSER"],
        "PASSWORD": os.environ["PGPASSWORD"],
        "NAME": os.environ["PGDATABASE"],
        "CONN_MAX_AGE": None,
        "OPTIONS": options,
    }


settings.configure(
    DATABASES={"default": database(), "bound": database(server_side_binding=True)},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from django.db import IntegrityError, connections, models, transaction  # noqa: E402
from django.utils import timezone  # noqa: E402


class Author(models.Model):
    name = models.CharField(max_length=50, unique=True)

    class Meta:
        app_label = "library"


class Book(models.Model):
    author = models.ForeignKey(Author, on_delete=models.CASCADE)
    title = models.TextField()
    price = models.DecimalField(max_digits=8, decimal_places=2)
    added = models.DateTimeField(default=timezone.now)
    tags = models.JSONField(default=list)

    class Meta:
        app_label = "library"


def work(using, number):
    author = Author.objects.using(using).create(name=f"{using} {number}")
    books = Book.objects.using(using).filter(author=author)
    for round_ in range(10):
        with transaction.atomic(using=using):
            Book.objects.using(using).create(
                author=author, title=f"book {round_}", price="1.50", tags=["new", round_]
            )
            Author.objects.using(using).select_for_update().get(pk=author.pk)
            try:
                with transaction.atomic(using=using):
                    Author.objects.using(using).create(name=author.name)
                raise AssertionError("no error")
            except IntegrityError:
                pass
            assert books.count() == round_ + 1
        books.filter(title=f"book {round_}").update(price=models.F("price") + round_)
        assert books.get(title=f"book {round_}").tags == ["new", round_]
    with transaction.atomic(using=using):
        assert sum(1 for _ in books.iterator(chunk_size=3)) == 10
    # Without a transaction its cursor is WITH HOLD.
    assert sum(1 for _ in books.iterator(chunk_size=3)) == 10
    many = [Book(author=author, title="bulk", price=1) for _ in range(50)]
    Book.objects.using(using).bulk_create(many)
    total = books.aggregate(total=models.Sum("price"))["total"]
    assert total == 15 + 45 + 50, total
    assert books.select_related("author").first().author.name == author.name


def run(using, number, failures):
    try:
        work(using, number)
    except BaseException as failure:
        failures.append((using, number, failure))
    finally:
        connections.close_all()


with connections["default"].schema_editor() as editor:
    editor.create_model(Author)
    editor.create_model(Book)
connections.close_all()
failures = []
for using in ("default", "bound"):
    arguments = [(using, number, failures) for number in range(CONNECTIONS)]
    threads = [threading.Thread(target=run, args=of_one) for of_one in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
assert not failures, failures
print("done")
