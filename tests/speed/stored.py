"""Stored events for tests and benchmarks, made inside the server by SQL alone: fast, and the same each time.

Every value is a function of the event's number (`SALT` apart), so a test may plant its own rows among them and know
the rest. Events go evenly over `days` up to `now_s`, the newest with number 0. Texts are words of a vocabulary that are
used as unevenly as words are; three prompts in ten come from a family of near duplicates, whose sketches differ in at
most three bits, and the others from nobody else. Hashes and sketches have the form of real ones, and are no hashes of
these texts: the worker's are keyed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from clickhouse_connect.driver.client import Client

DAYS = 90
DEPLOYMENTS = ("chat", "search", "support", "code", "summaries", "mail", "translate", "scoring")
"""The first has most of the calls; the last one is no language model and has features and a score."""

PRINCIPALS = 5_000
TOOLS = ("search_web", "read_file", "send_mail", "run_query", "open_ticket", "get_weather")
HOSTS = 60
FAMILIES = 3_000
VOCABULARY = 30_000
DRAWS = 65_536
PART = 500_000

_WORDS = f"""\
SELECT arrayMap(draw -> arrayElement(distinct, toUInt32(exp(draw * (log({VOCABULARY}) / {DRAWS})))), range({DRAWS}))
FROM
(
  SELECT arrayMap(rank -> concat(arrayStringConcat(arrayMap(each -> arrayElement(splitByChar(' ',
    'ba ke lo mi nu ra se ti vo wa che dri fla gno pre sha tre ula ist ing ent ort ack umb ol ith arn esk ou ie ar on'),
    sipHash64(rank, each) % 32 + 1), range(1 + (rank > 40) + (rank > 700) + sipHash64(rank) % 2))),
    if(rank % 3 = 0, char(97 + rank % 26), '')), range({VOCABULARY})) AS distinct
)"""  # noqa: S608 - numbers of this file
"""Words by how often they are used: as many draws of each as it has, the commonest first."""

EVENTS = f"""\
INSERT INTO inference_events (event_id, topic, partition, offset, event_index, record_time, time, source, operation,
  deployment, model, served_model, provider, components, principal, network, user_agent, session, region, input_tokens,
  output_tokens, cached_tokens, temperature, top_p, max_tokens, n, stream, latency_s, ttft_s, failed, refused,
  finish_reason, error_type, http_status, cost_usd, prompt, output, system, conversation, features, prediction, score,
  egress_hosts, style, prompt_hash, prompt_template, prompt_simhash, trace_id, span_id, response_id)
WITH ({_WORDS}) AS words,
  {list(DEPLOYMENTS)} AS deployments, {list(TOOLS)} AS tools,
  (draw, most) -> toUInt32(floor(exp((draw % 1000003) / 1000003 * log(most)))) AS ranked,
  (seed, first, past) -> arrayStringConcat(arrayMap(each -> arrayElement(words, intHash64(seed + each) % {DRAWS} + 1),
    range(first, past)), ' ') AS said,
  cityHash64({{salt:UInt64}}, number) AS dice,
  toDateTime64({{now_s:UInt32}}, 6, 'UTC') - toIntervalMicrosecond(toUInt64(number * {{every_us:Float64}})) AS at,
  cityHash64({{salt:UInt64}}, intDiv(number, 256), number % 16) AS visit,
  ranked(intHash64(visit + 1), 64) AS spread,
  least(intDiv(spread + 1, 8) + 1, 8) AS place,
  arrayElement(deployments, place) AS whose, place = 8 AS tabular,
  ranked(intHash64(visit + 2), {PRINCIPALS}) AS caller,
  concat('p_', lower(hex(MD5(toString(caller))))) AS who,
  intHash64(dice + 3) % 10 < 3 AS common, ranked(intHash64(dice + 4), {FAMILIES}) AS family,
  intHash64(dice + 5) % 40 AS changed,
  if(common, intHash64(family), dice) AS template,
  20 + if(common, family, dice) % 50 AS length,
  if(common, concat(said(template, 0, changed), ' ', said(dice, changed, changed + 1), ' ',
    said(template, changed + 1, greatest(length, changed + 1))), said(dice, 0, length)) AS asked,
  intHash64(dice + 6) % 100 AS luck, luck = 0 AS broken, luck IN (1, 2) AS declined,
  40 + intHash64(dice + 7) % 130 AS told,
  intHash64(dice + 8) % 8 = 0 AS calls_tool,
  arrayElement(tools, least(ranked(intHash64(dice + 9), 12), 6)) AS tool
SELECT concat('stored:', toString({{salt:UInt64}}), ':', toString(number)), 'inference-logs', number % 8,
  intDiv({{count:UInt64}} - number, 8), 0, toDateTime64(at, 3, 'UTC'), at,
  ['otlp', 'native', 'litellm'][dice % 3 + 1], if(tabular, 'predict', 'chat'), whose,
  if(tabular, 'risk-7', concat('model-', toString(place % 3))), concat('model-', toString(place % 3), '-2026-07'),
  ['openai', 'anthropic', 'self'][place % 3 + 1],
  map('weights', concat('sha256:', lower(hex(MD5(concat(whose, toString(number < {{count:UInt64}} / 3)))))),
    'tokenizer', concat('sha256:', lower(hex(MD5(whose)))), 'image', 'sha256:5d41402abc4b2a76b9719d911017c592',
    'tool_list', concat('sha256:', lower(hex(MD5(concat('tools', toString(place % 2))))))),
  if(dice % 50 = 0, NULL, who), concat('203.0.', toString(caller % 113), '.0/24'),
  ['openai-python/1.52', 'curl/8.5', 'python-requests/2.32', 'node-fetch/3'][caller % 4 + 1],
  concat('s_', lower(hex(visit))), 'eu-west-1',
  if(tabular, NULL, toInt64(length * 1.4)), if(tabular, NULL, toInt64(told * 1.4)), if(tabular, NULL, 0),
  if(tabular, NULL, [0, 0.2, 0.7, 1][caller % 4 + 1]), if(tabular, NULL, 1), if(tabular, NULL, 1024),
  if(tabular, NULL, 1), if(tabular, NULL, dice % 4 = 0),
  round(exp((intHash64(dice + 10) % 1000) / 400) / 4 + told / 100, 3), if(tabular, NULL, 0.05 + (dice % 400) / 1000),
  broken, declined, if(broken, NULL, if(calls_tool, 'tool_calls', 'stop')), if(broken, 'timeout', NULL),
  if(broken, 504, 200), if(tabular, NULL, round((length + 3 * told) * 0.000004, 6)),
  if(tabular, NULL, asked), if(tabular OR broken, NULL, if(declined, 'I cannot help with that.',
    said(intHash64(dice + 11), 0, told))), if(tabular, NULL, concat('You help people with ', whose, '.')),
  if(tabular OR broken OR NOT calls_tool, '', concat('{{"tool_calls":[{{"role":"assistant","content":null,"name":null,',
    '"tool_calls":[{{"name":"', tool, '","arguments":"{{\\\\"about\\\\":\\\\"', said(dice, 0, 3),
    '\\\\"}}","call_id":"call_', lower(hex(intHash64(dice + 12))), '"}}]}}]}}')),
  if(tabular, concat('{{"amount": ', toString(dice % 9000), ', "age": ', toString(18 + dice % 70), ', "country": "',
    ['de', 'fr', 'it'][dice % 3 + 1], '"}}'), ''), if(tabular, ['approve', 'decline'][(luck < 8) + 1], NULL),
  if(tabular, luck / 100, NULL),
  if(calls_tool AND NOT tabular, [concat('host-', toString(ranked(intHash64(dice + 13), {HOSTS})), '.example')], []),
  if(tabular, [], arrayMap(each -> toFloat32((intHash64(dice + each) % 64) / 16), range(16))),
  if(tabular, NULL, cityHash64(asked)), if(tabular, NULL, template),
  if(tabular, NULL, bitXor(template, if(common, bitOr(bitOr(bitShiftLeft(toUInt64(dice % 2), changed),
    bitShiftLeft(toUInt64(dice % 3 = 0), 41)), bitShiftLeft(toUInt64(dice % 5 = 0), 50 + dice % 8)), 0))),
  lower(hex(MD5(concat('trace', toString(dice))))), lower(hex(intHash64(dice + 14))),
  concat('chatcmpl-', lower(hex(intHash64(dice + 15))))
FROM numbers({{first:UInt64}}, {{many:UInt64}})"""  # noqa: S608 - names and numbers of this file


def principal(rank: int) -> str:
    """The pseudonym of the principal with this many others that call more, and one; 1..`PRINCIPALS`."""
    return "p_" + hashlib.md5(str(rank).encode(), usedforsecurity=False).hexdigest()


def event_id(number: int, salt: int = 1) -> str:
    """The id of the event with this number."""
    return f"stored:{salt}:{number}"


def fill(
    client: Client,
    count: int,
    now_s: int,
    *,
    days: int = DAYS,
    salt: int = 1,
    begin: int = 0,
    told: Callable[[int], None] | None = None,
) -> None:
    """Add `count` events of `days` up to `now_s` to the migrated database of `client`; another `salt`, other events.

    `begin` leaves out the numbers before it; `told` hears after each part how many there are.
    """
    given = {"count": count, "now_s": now_s, "every_us": days * 86_400e6 / count, "salt": salt}
    for first in range(begin, count, PART):
        client.command(EVENTS, parameters={**given, "first": first, "many": min(PART, count - first)})
        if told is not None:
            told(min(first + PART, count))
