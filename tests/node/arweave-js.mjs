// The published arweave-js, unmodified, against a gateway at GATEWAY_URL: transactions with inline data and with chunks,
// read back in every way it knows, wallets, and GraphQL.
import assert from 'node:assert/strict'
import Arweave from 'arweave'

const gateway = new URL(process.env.GATEWAY_URL)
const arweave = Arweave.init({ host: gateway.hostname, port: gateway.port, protocol: 'http' })

const info = await arweave.network.getInfo()
assert.equal(typeof info.height, 'number')
const block = await arweave.blocks.getCurrent()
assert.ok(block.height >= info.height)
assert.equal((await arweave.blocks.get(info.current)).height, info.height)

const key = await arweave.wallets.generate()
const address = await arweave.wallets.jwkToAddress(key)
assert.equal(await arweave.wallets.getBalance(address), '0')
assert.equal(await arweave.wallets.getLastTransactionID(address), '')
await (await fetch(new URL(`/mint/${address}/1000000000000`, gateway))).text()
assert.equal(await arweave.wallets.getBalance(address), '1000000000000')

async function store(data, tags) {
  const transaction = await arweave.createTransaction({ data }, key)
  for (const [name, value] of tags) transaction.addTag(name, value)
  await arweave.transactions.sign(transaction, key)
  assert.ok(await arweave.transactions.verify(transaction))
  const uploader = await arweave.transactions.getUploader(transaction)
  while (!uploader.isComplete) await uploader.uploadChunk()
  return transaction
}

const generated = (length) => Uint8Array.from({ length }, (_, index) => index % 251)
for (const length of [1, 262143, 262144, 262145, 1048699]) {
  const data = generated(length)
  const { id } = await store(data, [['Content-Type', 'application/x-test'], ['Length', String(length)]])
  const status = await arweave.transactions.getStatus(id)
  assert.equal(status.status, 200)
  assert.ok(status.confirmed.number_of_confirmations >= 1)
  const transaction = await arweave.transactions.get(id)
  assert.equal(transaction.id, id)
  assert.deepEqual(Buffer.from(transaction.data), Buffer.from(data), `data of ${length} bytes with the transaction`)
  assert.ok(await arweave.transactions.verify(transaction))
  const read = await arweave.transactions.getData(id, { decode: true })
  assert.deepEqual(Buffer.from(read), Buffer.from(data), `data of ${length} bytes`)
  const downloaded = await arweave.chunks.downloadChunkedData(id)
  assert.deepEqual(Buffer.from(downloaded), Buffer.from(data), `chunks of ${length} bytes`)
  assert.equal(await arweave.wallets.getLastTransactionID(address), id)
  const tags = transaction.tags.map((tag) => [
    tag.get('name', { decode: true, string: true }), tag.get('value', { decode: true, string: true })
  ])
  assert.deepEqual(tags, [['Content-Type', 'application/x-test'], ['Length', String(length)]])

  const answer = await arweave.api.post('/graphql', {
    query: `query ($length: String!) { transactions(owners: ["${address}"], tags: [{ name: "Length", values: [$length] }]) {
      edges { node { id data { size type } quantity { winston } block { height } bundledIn { id } } } } }`,
    variables: { length: String(length) }
  })
  const [edge, ...others] = answer.data.data.transactions.edges
  assert.equal(others.length, 0)
  assert.equal(edge.node.id, id)
  assert.deepEqual(edge.node.data, { size: String(length), type: 'application/x-test' })
  assert.equal(edge.node.block.height, status.confirmed.block_height)
}

// A transfer without data, and one that was tampered with.
const transfer = await arweave.createTransaction({ target: info.current.slice(0, 43), quantity: '5' }, key)
await arweave.transactions.sign(transfer, key)
assert.equal((await arweave.transactions.post(transfer)).status, 200)
assert.equal((await arweave.transactions.post(transfer)).status, 208)
const forged = await arweave.createTransaction({ data: 'x' }, key)
await arweave.transactions.sign(forged, key)
forged.reward = '99'
assert.equal((await arweave.transactions.post(forged)).status, 400)
assert.equal((await arweave.transactions.getStatus(forged.id)).status, 404)
