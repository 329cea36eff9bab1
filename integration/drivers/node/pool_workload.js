// node-postgres with its pool: what an application does, with more connections than servers.
'use strict';

const assert = require('node:assert');
const { Client, Pool } = require('pg');

const servers = Number(process.env.PROXY_POOL_SIZE);

async function worker(pool, number, named) {
  for (let round = 0; round < 20; round += 1) {
    const token = `w${number}-${round}`;
    const question = { text: 'select $1::text as token', values: [token] };
    if (named) question.name = 'token';
    assert.strictEqual((await pool.query(question)).rows[0].token, token);
    const client = await pool.connect();
    try {
      await client.query('begin');
      await client.query("select set_config('own.token', $1, true)", [token]);
      const { rows } = await client.query("select current_setting('own.token') as token");
      assert.strictEqual(rows[0].token, token);
      await client.query(round % 2 ? 'commit' : 'rollback');
      await assert.rejects(client.query('select 1 / $1::int', [0]), { code: '22012' });
      await assert.rejects(client.query('selec'), { code: '42601' });
    } finally {
      client.release();
    }
  }
}

async function workers(count, named) {
  const pool = new Pool({ max: count });
  const all = [];
  for (let number = 0; number < count * 2; number += 1) all.push(worker(pool, number, named));
  await Promise.all(all);
  await pool.end();
}

async function several() {
  const pool = new Pool({ max: 2 });
  const results = await pool.query("select 1 as a; select 'two' as b");
  assert.deepStrictEqual(results.map((result) => result.rows[0]), [{ a: 1 }, { b: 'two' }]);
  const large = 'x'.repeat(5000000);
  const { rows } = await pool.query('select $1::text as large', [large]);
  assert.ok(rows[0].large === large);
  const client = await pool.connect();
  const notices = [];
  client.on('notice', (notice) => notices.push(notice.message));
  await client.query("do $$ begin raise notice 'heard'; end $$");
  assert.deepStrictEqual(notices, ['heard']);
  client.release();
  await pool.end();
}

async function notifications() {
  const listener = new Client();
  await listener.connect();
  const heard = [];
  const all = new Promise((resolve) => {
    listener.on('notification', ({ channel, payload }) => {
      heard.push(`${channel} ${payload}`);
      if (payload === '99') resolve();
    });
  });
  await listener.query('listen drivers_node');
  const pool = new Pool({ max: 1 });
  for (let number = 0; number < 100; number += 1) {
    await pool.query("select pg_notify('drivers_node', $1)", [String(number)]);
  }
  await all;
  assert.deepStrictEqual(heard, Array.from({ length: 100 }, (_, n) => `drivers_node ${n}`));
  await pool.end();
  await listener.end();
}

async function main() {
  await notifications();
  await workers(servers * 2, false);
  // Named statements: each connection may keep its server.
  await workers(servers - 1, true);
  await several();
  console.log('done');
}

main().catch((failure) => {
  console.error(failure);
  process.exit(1);
});
