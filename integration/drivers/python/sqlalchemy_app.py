"""A SQLAlchemy application as it comes, over psycopg and over asyncpg, with its own pool."""

import asyncio
import os
import threading

from sqlalchemy import ForeignKey, create_engine, func, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

CONNECTIONS = 6
SIZE = {"pool_size": CONNECTIONS, "max_overflow": 0}


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "authors"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author", lazy="selectin")


class Book(Base):
    __tablename__ = "books"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))
    title: Mapped[str]
    author: Mapped[Author] = relationship(back_populates="books")


def url(driver):
    names = ("PGUSER", "PGPASSWORD", "PGHOST", "PGPORT", "PGDATABASE")
    user, password, host, port, database = (os.environ[name] for name in names)
    return f"postgresql+{driver}://{user}:{password}@{host}:{port}/{database}"


def work(engine, number):
    with Session(engine) as session:
        author = Author(name=f"sync {number}")
        session.add(author)
        session.commit()
        for round_ in range(10):
            session.add_all([Book(author=author, title=f"book {round_}.{n}") for n in range(5)])
            session.flush()
            try:
                with session.begin_nested():
                    session.add(Author(name=author.name))
            except IntegrityError:
                pass
            session.commit()
            books = select(func.count()).where(Book.author_id == author.id)
            assert session.scalar(books) == (round_ + 1) * 5
            session.rollback()
        session.execute(update(Book).where(Book.author_id == author.id).values(title="renamed"))
        session.commit()
        every = select(Book).where(Book.author_id == author.id).execution_options(yield_per=7)
        assert sum(1 for _ in session.scalars(every)) == 50
        session.commit()
        assert len(session.get(Author, author.id).books) == 50
        try:
            session.execute(text("select 1 / :n"), {"n": 0})
            raise AssertionError("no error")
        except DBAPIError:
            session.rollback()


async def async_work(engine, number):
    async with AsyncSession(engine, expire_on_commit=False) as session:
        author = Author(name=f"async {number}")
        session.add(author)
        await session.commit()
        owner = author.id
        for round_ in range(10):
            session.add_all([Book(author_id=owner, title=f"book {n}") for n in range(5)])
            await session.commit()
            books = select(func.count()).where(Book.author_id == owner)
            assert await session.scalar(books) == (round_ + 1) * 5
            try:
                await session.execute(text("select 1 / cast(:n as int)"), {"n": 0})
                raise AssertionError("no error")
            except DBAPIError:
                await session.rollback()
        every = select(Book).where(Book.author_id == owner).execution_options(yield_per=7)
        count = 0
        async for _ in await session.stream_scalars(every):
            count += 1
        assert count == 50, count


async def async_main():
    engine = create_async_engine(url("asyncpg"), **SIZE)
    await asyncio.gather(*(async_work(engine, number) for number in range(CONNECTIONS * 2)))
    await engine.dispose()


def main():
    engine = create_engine(url("psycopg"), **SIZE)
    Base.metadata.create_all(engine)
    failures = []

    def run(number):
        try:
            work(engine, number)
        except BaseException as failure:
            failures.append((number, failure))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CONNECTIONS * 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures, failures
    engine.dispose()


main()
asyncio.run(async_main())
print("done")
