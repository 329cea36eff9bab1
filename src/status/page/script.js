
'use strict';
// What is shown comes from clients, too: it is put in as text, and as nothing else.

const FORMAT = 1;
const POINTS = 180;
const ROWS = 10;
// They look alike, and those who have the servers say more.
const WAITING_ROWS = 5;
const SVG = 'http://www.w3.org/2000/svg';
const MARKS = {
  healthy: '●', busy: '◐', shedding: '▲', server_down: '■', paused: '‖', draining: '▼',
  stopping: '▼', full: '▲', logins: '▲', config: '▲', suspended: '‖', disabled: '▼',
};
const WORDS = {
  healthy: 'well', busy: 'busy', shedding: 'shedding', server_down: 'down', paused: 'paused',
  draining: 'draining', stopping: 'stopping', full: 'full', logins: 'logins wait', config: 'not reloaded',
  suspended: 'suspended', disabled: 'disabled',
};
const HEADLINES = {
  busy: (name) => `Clients of ${name} wait`,
  shedding: (name) => `${name} refuses some requests`,
  server_down: (name) => `${name} cannot be reached`,
  paused: (name) => `${name} is paused`,
  draining: (name) => `${name} lets nobody in`,
  stopping: () => 'The proxy stops',
  full: () => 'No more clients are let in',
  logins: () => 'Logins wait',
  config: () => 'The configuration was not loaded',
  suspended: () => 'All clients are suspended',
  disabled: (name) => `${name} lets nobody new in`,
};

const $ = (id) => document.getElementById(id);

// ---- Numbers as people read them ----------------------------------------------------------------

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const number = (value) => (Math.abs(value) < 10 ? tenth : whole).format(value);
const count = (value, one, many) => `${whole.format(value)} ${value === 1 ? one : many}`;

function time(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds === 0) return '0 ms';
  if (seconds < 0.01) return `${tenth.format(Math.max(seconds * 1000, 0.1))} ms`;
  if (seconds < 1) return `${whole.format(seconds * 1000)} ms`;
  if (seconds < 10) return `${tenth.format(seconds)} s`;
  if (seconds < 120) return `${whole.format(Math.floor(seconds))} s`;
  if (seconds < 7200) return `${whole.format(Math.floor(seconds / 60))} min`;
  if (seconds < 172800) return `${whole.format(Math.floor(seconds / 3600))} h`;
  return `${whole.format(Math.floor(seconds / 86400))} days`;
}

function clock(unix) {
  const date = new Date(unix * 1000);
  const hour = date.toLocaleTimeString('en-GB');
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? hour : `${date.toLocaleDateString('en-CA')} ${hour}`;
}

// ---- Elements -----------------------------------------------------------------------------------

function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

// Letters that cannot be seen but make a line read other than it is, as in `src/base/legible.rs`.
const ODD = /[\p{Cc}\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;
const safe = (text) => text.replace(ODD, '\ufffd');

// What has not changed is left alone: screen readers would read it again.
function say(node, text) {
  const legible = safe(text);
  if (node.textContent !== legible) node.textContent = legible;
}

function attribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

// One child for each item, kept as long as there is an item with its key.
function children(parent, items, key, make, update) {
  const known = parent.known || (parent.known = new Map());
  const wanted = new Set();
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = key(item);
    wanted.add(name);
    let child = known.get(name);
    if (!child) known.set(name, child = make(item));
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
    update(child, item);
  }
  for (const [name, child] of known) {
    if (!wanted.has(name)) {
      child.remove();
      known.delete(name);
    }
  }
}

// By their places: rows that say something else each second.
function table(parent, columns, rows) {
  if (!parent.body) {
    const head = element('tr', '', ...columns.map((column) => {
      const cell = element('th', column.number ? 'number' : '', column.title);
      cell.scope = 'col';
      cell.setAttribute('role', 'columnheader');
      return cell;
    }));
    head.setAttribute('role', 'row');
    parent.body = element('tbody');
    const made = element('table', '', element('thead', '', head), parent.body);
    // Narrow screens show rows as blocks; they stay a table for those who hear them.
    made.setAttribute('role', 'table');
    made.setAttribute('aria-labelledby', parent.closest('section').getAttribute('aria-labelledby'));
    parent.append(made);
  }
  const make = () => {
    const row = element('tr', '', ...columns.map((column) => {
      const cell = element('td', column.number ? 'number' : '');
      cell.dataset.label = column.title;
      cell.setAttribute('role', 'cell');
      return cell;
    }));
    row.setAttribute('role', 'row');
    return row;
  };
  const fill = (row, item) => columns.forEach((column, at) => say(row.cells[at], column.text(item.row)));
  children(parent.body, rows.map((row, at) => ({ row, at })), (item) => item.at, make, fill);
}

// ---- Charts -------------------------------------------------------------------------------------

let past = null;
// How many points before now everybody looks at; null: at now.
let cursor = null;

const CHARTS = [
  { title: 'Transactions a second', of: (all) => [all.transactions], text: number },
  { title: 'Wait for a server', of: (all) => [all.wait_p99, all.wait_p50], text: time, parts: ['p99', 'p50'] },
  { title: 'Clients waiting', of: (all) => [all.waiting], text: number },
  { title: 'Requests refused a second', of: (all, refused) => [refused], text: number },
  { title: 'Query time', of: (all) => [all.query_p99, all.query_p50], text: time, parts: ['p99', 'p50'] },
  { title: 'Clients', of: (all) => [all.clients], text: number },
];

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function lines(values, top) {
  const from = POINTS - values.length;
  let text = '';
  let isDown = false;
  values.forEach((value, at) => {
    if (value === null) { isDown = false; return; }
    text += `${isDown ? 'L' : 'M'}${from + at} ${(40 - 38 * value / top).toFixed(2)}`;
    isDown = true;
  });
  return text;
}

function plot(isSmall) {
  const made = svg('svg', { viewBox: `0 0 ${POINTS - 1} 40`, preserveAspectRatio: 'none', role: 'img' });
  made.title = svg('title', {});
  made.desc = svg('desc', {});
  made.paths = [svg('path', { class: 'area' }), svg('path', {}), svg('path', { class: 'second' })];
  made.cursor = svg('line', { class: 'cursor', y1: 0, y2: 40, visibility: 'hidden' });
  made.append(made.title, made.desc, svg('line', { x1: 0, x2: POINTS - 1, y1: 40, y2: 40 }), ...made.paths, made.cursor);
  if (isSmall) made.classList.add('spark');
  return made;
}

function draw(made, series, title, text) {
  const known = series.flat().filter((value) => value !== null);
  const top = Math.max(...known, 0);
  const scale = top || 1;
  const first = series[0];
  say(made.title, title);
  const last = first.at(-1);
  const range = known.length ? `highest ${text(top)}, now ${last === null ? 'nothing' : text(last)}` : 'nothing so far';
  say(made.desc, `In the last ${Math.max(1, Math.round(first.length * past.every / 60))} minutes: ${range}.`);
  attribute(made.paths[1], 'd', lines(first, scale));
  attribute(made.paths[2], 'd', series[1] ? lines(series[1], scale) : '');
  const filled = first.map((value) => value ?? 0);
  const from = POINTS - filled.length;
  attribute(made.paths[0], 'd', filled.length ? `${lines(filled, scale)}L${POINTS - 1} 40L${from} 40Z` : '');
  const x = cursor === null ? 0 : POINTS - 1 - cursor;
  attribute(made.cursor, 'x1', String(x));
  attribute(made.cursor, 'x2', String(x));
  attribute(made.cursor, 'visibility', cursor === null ? 'hidden' : 'visible');
  return top;
}

function makeChart(chart) {
  const value = element('span', 'value');
  const name = element('span', 'name', chart.title);
  const most = element('span');
  const made = plot(false);
  made.setAttribute('tabindex', '0');
  const figure = element('figure', '', element('figcaption', '', name, value), made,
    element('div', 'axis', element('span', '', '15 min ago'), most, element('span', '', 'now')));
  Object.assign(figure, { plot: made, value, most });
  return figure;
}

function showChart(figure, chart) {
  const series = chart.of(past.all, past.refused);
  const top = draw(figure.plot, series, chart.title, chart.text);
  const at = (values) => values.at(-1 - (cursor || 0)) ?? null;
  const texts = series.map((values) => (at(values) === null ? '–' : chart.text(at(values))));
  say(figure.most, `highest ${chart.text(top)}`);
  if (!chart.parts) return say(figure.value, texts[0]);
  const key = texts.join();
  if (figure.key !== key) {
    figure.key = key;
    figure.value.replaceChildren(texts[0], element('small', '', ` ${chart.parts[0]} · ${texts[1]} ${chart.parts[1]}`));
  }
}

function showCharts() {
  if (!past) return;
  $('charts').parentElement.hidden = false;
  children($('charts'), CHARTS, (chart) => chart.title, makeChart, showChart);
  const note = $('moment');
  note.hint ||= note.textContent;
  const ago = (cursor || 0) * past.every;
  say(note, cursor === null ? note.hint : `At ${clock(past.at - ago)}, ${time(ago)} ago. Escape goes back to now.`);
}

function look(at) {
  const most = past ? past.all.clients.length - 1 : 0;
  const next = at === null ? null : Math.min(Math.max(at, 0), most);
  if (next === cursor) return;
  cursor = next;
  showCharts();
}

function watchCharts() {
  const charts = $('charts');
  charts.addEventListener('pointermove', (event) => {
    const made = event.target.closest('svg');
    if (!made) return;
    const box = made.getBoundingClientRect();
    look(Math.round((1 - (event.clientX - box.left) / box.width) * (POINTS - 1)));
  });
  charts.addEventListener('pointerleave', () => look(null));
  charts.addEventListener('focusout', () => look(null));
  charts.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: 1, ArrowRight: -1, PageUp: 12, PageDown: -12 }[event.key];
    if (step) look((cursor ?? 0) + step);
    else if (event.key === 'Home') look(POINTS);
    else if (event.key === 'End') look(0);
    else if (event.key === 'Escape') look(null);
    else return;
    event.preventDefault();
  });
}

// ---- Parts of the page --------------------------------------------------------------------------

function showVerdict(status) {
  const { attention, clients, now } = status;
  const worst = attention[0];
  const state = worst ? worst.state : status.state;
  attribute($('verdict'), 'data-state', state);
  say($('mark'), MARKS[state] || '?');
  let headline = state === 'busy' ? 'Busy, and keeping up' : 'All is well';
  if (attention.length === 1) headline = HEADLINES[worst.state](worst.name);
  else if (worst) headline = `${whole.format(attention.length)} things need attention`;
  say($('headline'), headline);
  document.title = safe(`${MARKS[state] || '?'} ${headline} · pgweir`);
  const most = clients.max ? ` of ${whole.format(clients.max)}` : '';
  const waiting = clients.waiting ? `${whole.format(clients.waiting)} waiting` : 'nobody waiting';
  const refused = now.refused ? `, ${number(now.refused)} refused a second` : '';
  say($('summary'), `${whole.format(clients.used)}${most} clients, ${waiting}; ${number(now.transactions)} transactions a second${refused}`);
  const make = () => {
    const item = element('li');
    item.parts = ['b', 'span', 'span', 'span'].map((name) => element(name));
    item.parts[1].className = 'state';
    item.parts[2].className = 'since';
    item.parts[3].className = 'reason';
    item.append(item.parts[0], ' ', item.parts[1], ' ', item.parts[2], item.parts[3]);
    return item;
  };
  children($('attention'), attention, (one) => JSON.stringify([one.what, one.name, one.database, one.user, one.state]), make, (item, one) => {
    item.dataset.state = one.state;
    const since = one.since ? `since ${clock(one.since)} (${time(Math.max(status.at - one.since, 0))})` : '';
    const texts = [one.what === 'host' ? `host ${one.name}` : one.name, `${MARKS[one.state]} ${WORDS[one.state]}`, since, one.reason];
    texts.forEach((text, at) => say(item.parts[at], text));
  });
}

function makeBar(kinds) {
  const bar = element('div', 'bar', ...kinds.map((kind) => element('i', kind)));
  bar.setAttribute('aria-hidden', 'true');
  return bar;
}

function fillBar(bar, values, size) {
  const all = Math.max(size, values.reduce((sum, value) => sum + value, 0), 1);
  values.forEach((value, at) => { bar.children[at].style.width = `${100 * value / all}%`; });
}

function makePool() {
  const item = element('li');
  item.name = element('b');
  item.state = element('span', 'state');
  item.bar = makeBar(['active', 'in-transaction', 'kept', 'opening', 'idle']);
  item.servers = element('div', 'small');
  item.waits = element('div');
  item.does = element('div', 'small');
  item.spark = plot(true);
  item.failure = element('div', 'failure');
  item.append(element('div', 'name', item.name, ' ', item.state), element('div', '', item.bar, item.servers),
    element('div', '', item.waits, item.does), element('div', '', item.spark), item.failure);
  return item;
}

const poolName = (pool) => (pool.pools > 1 ? `${whole.format(pool.pools)} other pools` : `${pool.database}/${pool.user}`);

function showPool(item, pool) {
  const { servers } = pool;
  item.dataset.state = pool.state;
  say(item.name, poolName(pool));
  say(item.state, pool.state === 'healthy' ? '' : `${MARKS[pool.state]} ${WORDS[pool.state]}`);
  const unknown = Math.max(servers.used - pool.active - pool.idle_in_transaction - pool.kept_idle, 0);
  const opening = servers.connecting + servers.other;
  fillBar(item.bar, [pool.active + unknown, pool.idle_in_transaction, pool.kept_idle, opening, servers.idle], pool.size);
  const parts = [];
  if (pool.active + unknown) parts.push(`${pool.active + unknown} active`);
  if (pool.idle_in_transaction) parts.push(`${pool.idle_in_transaction} idle in transaction`);
  if (pool.kept_idle) parts.push(`${pool.kept_idle} kept idle`);
  if (opening) parts.push(`${opening} opening`);
  if (servers.idle) parts.push(`${servers.idle} idle`);
  say(item.servers, `${servers.used} of ${pool.size} in use${parts.length ? `: ${parts.join(', ')}` : ''}`);
  item.waits.className = pool.waiting ? 'waits' : 'small';
  say(item.waits, pool.waiting ? `${count(pool.waiting, 'waits', 'wait')}, up to ${time(pool.longest_wait)}` : 'nobody waits');
  const refused = pool.refused_last_minute ? `, ${whole.format(pool.refused_last_minute)} refused in a minute` : '';
  say(item.does, `${number(pool.now.transactions)} transactions a second, ${count(pool.clients, 'client', 'clients')}${refused}`);
  say(item.failure, pool.failure || '');
  const known = past && past.pools.find((one) => one.database === pool.database && one.user === pool.user);
  item.spark.style.display = known ? '' : 'none';
  if (known) draw(item.spark, [known.transactions], `Transactions a second of ${poolName(pool)}`, number);
}

function showPools(pools) {
  $('pools').parentElement.hidden = !pools.length;
  const key = (pool) => JSON.stringify([pool.host, pool.database, pool.user]);
  const byName = (a, b) => (key(a) < key(b) ? -1 : 1);
  // What is well keeps its place: by name, not by how much it does this second.
  const isLoud = (pool) => pool.state !== 'healthy' && pool.state !== 'busy';
  const loud = pools.filter(isLoud);
  const calm = pools.filter((pool) => !isLoud(pool)).sort(byName);
  const room = Math.max(ROWS - loud.length, 0);
  children($('pools'), [...loud, ...calm.slice(0, room)], key, makePool, showPool);
  const more = $('more-pools');
  const rest = calm.slice(room);
  more.hidden = !rest.length;
  say(more.firstElementChild, `${count(rest.length, 'more', 'more')}, all well`);
  children(more.lastElementChild, more.open ? rest : [], key, makePool, showPool);
}

const whose = (one) => one.application || '(no name)';
const WAITING = [
  { title: 'Application', text: whose },
  { title: 'Pool', text: (one) => `${one.database}/${one.user}` },
  { title: 'Waits', text: (one) => time(one.waited), number: true },
  { title: 'For', text: (one) => one.waits_for },
  { title: 'Address', text: (one) => one.address },
];
const HOLDING = [
  { title: 'Application', text: whose },
  { title: 'Pool', text: (one) => `${one.database}/${one.user}` },
  { title: 'Does', text: (one) => `${one.state.replaceAll('_', ' ')} for ${time(one.lasts)}` },
  { title: 'Held', text: (one) => time(one.held), number: true },
  { title: 'Postgres pid', text: (one) => String(one.pid ?? ''), number: true },
  { title: 'Address', text: (one) => one.address },
];

function showPeople(id, columns, people, rows, verb) {
  $(id).parentElement.hidden = !people.all;
  const left = people.all - people.shown.length;
  say($(`${id}-note`), left > 0 ? `${whole.format(people.all)} ${verb}; these are the ${people.shown.length} that matter most.` : `${whole.format(people.all)} ${verb}.`);
  const more = $(`${id}-more`);
  more.hidden = people.shown.length <= rows;
  table($(id), columns, more.getAttribute('aria-expanded') === 'true' ? people.shown : people.shown.slice(0, rows));
}

function watchMore() {
  for (const button of document.querySelectorAll('button')) {
    button.addEventListener('click', () => {
      const isOpen = button.getAttribute('aria-expanded') === 'true';
      button.setAttribute('aria-expanded', String(!isOpen));
      say(button, isOpen ? 'Show more' : 'Show fewer');
      if (shown) show(shown);
    });
  }
  $('more-pools').addEventListener('toggle', () => { if (shown) show(shown); });
}

function showHosts(hosts) {
  $('hosts').parentElement.hidden = !hosts.length;
  const make = () => {
    const item = element('li');
    item.name = element('b');
    item.state = element('span', 'state');
    item.bar = makeBar(['active', 'opening', 'idle']);
    item.text = element('div', 'small');
    item.failure = element('div', 'failure');
    item.append(element('div', 'name', item.name, ' ', item.state), item.bar, item.text, item.failure);
    return item;
  };
  children($('hosts'), hosts, (host) => host.name, make, (item, host) => {
    const { servers } = host;
    item.dataset.state = host.failure ? 'server_down' : 'healthy';
    say(item.name, host.name);
    say(item.state, host.failure ? `${MARKS.server_down} ${WORDS.server_down}` : '');
    fillBar(item.bar, [servers.used, servers.connecting + servers.other, servers.idle], host.max_connections || servers.open);
    const most = host.max_connections ? ` of ${whole.format(host.max_connections)}` : '';
    say(item.text, `${whole.format(servers.open)}${most} connections: ${servers.used} in use, ${servers.idle} idle`);
    say(item.failure, host.failure || '');
  });
}

const used = (part) => (part.max ? `${whole.format(part.used)} of ${whole.format(part.max)}` : whole.format(part.used));
const percent = (share) => (share === null ? '–' : `${Math.round(share * 100)} %`);
const CLASSES = [
  { title: 'Class', text: (one) => `${one.name}${one.is_shedding ? ' ▲ shedding' : ''}` },
  { title: 'Priority', text: (one) => `${one.priority}, weight ${one.weight}` },
  { title: 'Clients', text: (one) => used(one.clients), number: true },
  { title: 'Servers', text: (one) => `${used(one.servers)}${one.reserved ? ` (${one.reserved} reserved)` : ''}`, number: true },
  { title: 'Waiting', text: (one) => used(one.waiting), number: true },
  { title: 'Share (fair)', text: (one) => `${percent(one.share)} (${percent(one.fair_share)})`, number: true },
  { title: 'Wait p50 · p99', text: (one) => `${time(one.wait_p50)} · ${time(one.wait_p99)}`, number: true },
  { title: 'Refused', text: (one) => refusals(one), number: true },
];

function refusals(one) {
  const reasons = Object.entries(one.refused_for).map(([reason, times]) => `${reason.replaceAll('_', ' ')} ${whole.format(times)}`);
  return reasons.length ? reasons.join(', ') : '0';
}

function showClasses(classes, hosts) {
  $('classes').parentElement.hidden = !classes.length;
  const named = hosts.length > 1 ? classes.map((one) => ({ ...one, name: `${one.name} on ${one.host}` })) : classes;
  table($('classes'), CLASSES, named.slice(0, 30));
}

let shown = null;
function show(status) {
  shown = status;
  const { proxy } = status;
  say($('about'), `${proxy.version}, up ${time(status.at - proxy.started_at)}`);
  showVerdict(status);
  showPools(status.pools);
  showPeople('waiting', WAITING, status.waiting, WAITING_ROWS, status.waiting.all === 1 ? 'client waits' : 'clients wait');
  showPeople('holding', HOLDING, status.holding, ROWS, status.holding.all === 1 ? 'server is held' : 'servers are held');
  showHosts(status.hosts);
  showClasses(status.classes, status.hosts);
  say($('config'), `Configuration ${proxy.config.hash.slice(0, 12)}, loaded ${clock(proxy.config.loaded_at)}`);
}

// ---- Asking -------------------------------------------------------------------------------------

let lastHeard = null;

function connected(isSo, text) {
  document.body.classList.toggle('lost', !isSo);
  attribute($('link'), 'data-state', isSo ? 'ok' : 'lost');
  say($('link'), text);
}

async function ask(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(5000), cache: 'no-store' });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function poll() {
  try {
    const status = await ask('api/status.json');
    if (status.format !== FORMAT) return connected(false, 'The proxy is another version now: reload this page');
    if (status.history.last !== (past && past.last) && status.history.last) {
      past = Object.assign(await ask('api/history.json'), { at: status.at });
      showCharts();
    }
    show(status);
    lastHeard = status.at;
    connected(true, 'Live');
  } catch (error) {
    const since = lastHeard ? ` What is shown is of ${clock(lastHeard)}.` : '';
    connected(false, `No answer from the proxy.${since} Trying again.`);
  }
  setTimeout(poll, document.hidden ? 10000 : 1000);
}

watchCharts();
watchMore();
poll();
