// Work of the AWS SDK for JavaScript with its defaults: `node client.cjs WHAT`. It checks what comes back, and
// prints what it has left beneath the prefix: keys and sizes.
"use strict";

const assert = require("node:assert/strict");
const { createHash, randomBytes } = require("node:crypto");
const { Readable } = require("node:stream");
const {
  AbortMultipartUploadCommand,
  CopyObjectCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  paginateListObjectsV2,
} = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { getSignedUrl } = require("@aws-sdk/s3-request-presigner");

const MIB = 1024 * 1024;
const { BUCKET: Bucket, ENDPOINT: endpoint, PREFIX: prefix } = process.env;
// maxAttempts 1: a second try would hide what the first one met.
const s3 = new S3Client({ endpoint, region: "us-east-1", forcePathStyle: true, maxAttempts: 1 });

const md5 = (body) => `"${createHash("md5").update(body).digest("hex")}"`;
const get = async (Key, more = {}) => {
  const answer = await s3.send(new GetObjectCommand({ Bucket, Key, ...more }));
  return { ...answer, body: Buffer.from(await answer.Body.transformToByteArray()) };
};
const list = async () => {
  const seen = {};
  for await (const page of paginateListObjectsV2({ client: s3, pageSize: 7 }, { Bucket, Prefix: prefix })) {
    for (const { Key, Size } of page.Contents ?? []) seen[Key] = Size;
  }
  return seen;
};
const refused = async (command, name, status) => {
  await assert.rejects(s3.send(command), (error) => {
    assert.deepEqual([error.name, error.$metadata.httpStatusCode], [name, status]);
    return true;
  });
};

const work = {
  async objects() {
    for (const size of [0, 1, 100_000, 3_000_000]) {
      const body = randomBytes(size);
      const Key = `${prefix}${size} +&ü`;
      const put = await s3.send(new PutObjectCommand({ Bucket, Key, Body: body, Metadata: { size: `${size}` } }));
      assert.equal(put.ETag, md5(body));
      assert.ok(put.ChecksumCRC32);
      const got = await get(Key);
      assert.ok(got.body.equals(body));
      assert.deepEqual([got.ChecksumCRC32, got.Metadata], [put.ChecksumCRC32, { size: `${size}` }]);
    }
    for (const ChecksumAlgorithm of ["CRC32C", "CRC64NVME", "SHA1", "SHA256"]) {
      const Key = `${prefix}${ChecksumAlgorithm}`;
      const put = await s3.send(new PutObjectCommand({ Bucket, Key, Body: "hello", ChecksumAlgorithm }));
      const field = `Checksum${ChecksumAlgorithm}`;
      assert.ok(put[field]);
      assert.equal((await get(Key, { ChecksumMode: "ENABLED" }))[field], put[field]);
    }
    const many = Array.from({ length: 20 }, (_, i) => ({ Key: `${prefix}many/${i}` }));
    for (const { Key } of many) await s3.send(new PutObjectCommand({ Bucket, Key, Body: Key }));
    assert.equal(Object.keys(await list()).length, 28);
    const deleted = await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: many } }));
    assert.deepEqual([deleted.Deleted.length, deleted.Errors ?? []], [20, []]);
  },

  async streams() {
    const body = randomBytes(1_000_000);
    const Body = Readable.from([body.subarray(0, 10), body.subarray(10)]);
    const Key = `${prefix}stream`;
    // A length that is known beforehand: chunks with a checksum behind them.
    await s3.send(new PutObjectCommand({ Bucket, Key, Body, ContentLength: body.length }));
    assert.ok((await get(Key)).body.equals(body));
    assert.ok((await get(Key, { Range: "bytes=5-14" })).body.equals(body.subarray(5, 15)));
    const CopySource = `${Bucket}/${encodeURIComponent(Key)}`;
    await s3.send(new CopyObjectCommand({ Bucket, Key: `${Key} copied`, CopySource }));
    assert.ok((await get(`${Key} copied`)).body.equals(body));
  },

  async errors() {
    await refused(new GetObjectCommand({ Bucket, Key: `${prefix}nothing` }), "NoSuchKey", 404);
    await refused(new HeadObjectCommand({ Bucket, Key: `${prefix}nothing` }), "NotFound", 404);
    const Key = `${prefix}once`;
    await s3.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects: [{ Key }] } }));
    await s3.send(new PutObjectCommand({ Bucket, Key, Body: "1", IfNoneMatch: "*" }));
    await refused(new PutObjectCommand({ Bucket, Key, Body: "2", IfNoneMatch: "*" }), "PreconditionFailed", 412);
    const { ETag } = await get(Key);
    // A 304 has no body, and so no name.
    await refused(new GetObjectCommand({ Bucket, Key, IfNoneMatch: ETag }), "Unknown", 304);
  },

  // The presigner puts headers into the query, and the checksum of no body among them.
  async presigned() {
    const send = async (command, body) => {
      const answer = await fetch(await getSignedUrl(s3, command), { method: body === undefined ? "GET" : "PUT", body });
      assert.equal(answer.status, 200, await answer.clone().text());
      return answer;
    };
    const [Key, copied] = [`${prefix}presigned`, `${prefix}copied`];
    const Metadata = { a: "1 +2" };
    await send(new PutObjectCommand({ Bucket, Key, Metadata, StorageClass: "GLACIER_IR", ContentType: "text/x" }), "hello");
    const head = await s3.send(new HeadObjectCommand({ Bucket, Key }));
    assert.deepEqual([head.Metadata, head.StorageClass, head.ContentLength], [Metadata, "GLACIER_IR", 5]);
    await send(new CopyObjectCommand({ Bucket, Key: copied, CopySource: `${Bucket}/${encodeURIComponent(Key)}` }), "");
    const answer = await send(new GetObjectCommand({ Bucket, Key: copied, ChecksumMode: "ENABLED" }));
    assert.equal(await answer.text(), "hello");
  },

  async parts() {
    const body = randomBytes(17 * MIB + 5);
    for (const [name, Body] of [["whole", body], ["stream", Readable.from([body])]]) {
      const Key = `${prefix}${name}`;
      const params = { Bucket, Key, Body, ContentType: "text/x", Metadata: { a: "1" } };
      const done = await new Upload({ client: s3, params, partSize: 5 * MIB, queueSize: 4 }).done();
      assert.match(done.ETag, /-4"$/);
      const got = await get(Key);
      assert.ok(got.body.equals(body));
      assert.deepEqual([got.ETag, got.ContentType, got.Metadata], [done.ETag, "text/x", { a: "1" }]);
      const third = await get(Key, { PartNumber: 3 });
      assert.ok(third.body.equals(body.subarray(10 * MIB, 15 * MIB)));
      assert.equal(third.PartsCount, 4);
    }
    const small = await new Upload({ client: s3, params: { Bucket, Key: `${prefix}small`, Body: "small" } }).done();
    assert.equal(small.ETag, md5("small"));
  },

  async abort() {
    const Key = `${prefix}aborted`;
    const upload = new Upload({ client: s3, params: { Bucket, Key, Body: randomBytes(30 * MIB) }, queueSize: 1 });
    upload.on("httpUploadProgress", () => upload.abort());
    await assert.rejects(upload.done(), { name: "AbortError" });
    const { UploadId } = await s3.send(new CreateMultipartUploadCommand({ Bucket, Key }));
    await s3.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber: 1, Body: "one" }));
    const { Parts } = await s3.send(new ListPartsCommand({ Bucket, Key, UploadId }));
    assert.deepEqual(Parts.map((part) => [part.PartNumber, part.Size]), [[1, 3]]);
    await s3.send(new AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
    await refused(new ListPartsCommand({ Bucket, Key, UploadId }), "NoSuchUpload", 404);
  },
};

work[process.argv[2]]()
  .then(list)
  .then((left) => console.log(JSON.stringify(left)));
