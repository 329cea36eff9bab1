# docker build -t pgweir .
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin pgweir

FROM debian:bookworm-slim
RUN useradd --system --no-create-home --shell /usr/sbin/nologin pgweir
COPY --from=build /src/target/release/pgweir /usr/local/bin/pgweir
USER pgweir
EXPOSE 6432
ENTRYPOINT ["pgweir"]
CMD ["run", "-c", "/etc/pgweir/proxy.toml"]
