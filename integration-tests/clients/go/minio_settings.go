// minio-go: what buckets are told, versions and locks. The bucket is the test's own.

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/cors"
	"github.com/minio/minio-go/v7/pkg/lifecycle"
)

// A bucket of the maker's, and what deletes it with everything in it.
func ownBucket(options minio.MakeBucketOptions) (*minio.Client, string, func()) {
	maker := newMinio(true, os.Getenv("MAKER_KEY"), os.Getenv("MAKER_SECRET"))
	own := fmt.Sprintf("own-of-minio-go-%x", random(4))
	ok(maker.MakeBucket(ctx, own, options))
	return maker, own, func() {
		all := maker.ListObjects(ctx, own, minio.ListObjectsOptions{Recursive: true, WithVersions: true})
		for result := range maker.RemoveObjects(ctx, own, all, minio.RemoveObjectsOptions{GovernanceBypass: true}) {
			ok(result.Err)
		}
		ok(maker.RemoveBucket(ctx, own))
	}
}

func minioSettings() {
	maker, own, remove := ownBucket(minio.MakeBucketOptions{})
	defer remove()
	_, err := maker.GetBucketLifecycle(ctx, own)
	minioRefused(err, "NoSuchLifecycleConfiguration", 404)
	rules := lifecycle.NewConfiguration()
	rules.Rules = []lifecycle.Rule{
		{ID: "old", Status: "Enabled", RuleFilter: lifecycle.Filter{Prefix: "tmp/"}, Expiration: lifecycle.Expiration{Days: 3}},
		{ID: "dated", Status: "Disabled", RuleFilter: lifecycle.Filter{Prefix: "once/"}, Expiration: lifecycle.Expiration{
			Date: lifecycle.ExpirationDate{Time: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)},
		}},
		{ID: "both", Status: "Enabled", RuleFilter: lifecycle.Filter{And: lifecycle.And{
			Prefix: "a&b/", Tags: []lifecycle.Tag{{Key: "k", Value: "v"}, {Key: "l", Value: "w"}}, ObjectSizeGreaterThan: 10,
		}}, NoncurrentVersionExpiration: lifecycle.NoncurrentVersionExpiration{NoncurrentDays: 2, NewerNoncurrentVersions: 3}},
		{ID: "parts", Status: "Enabled", AbortIncompleteMultipartUpload: lifecycle.AbortIncompleteMultipartUpload{DaysAfterInitiation: 1}},
		{ID: "markers", Status: "Enabled", Expiration: lifecycle.Expiration{DeleteMarker: true}},
	}
	ok(maker.SetBucketLifecycle(ctx, own, rules))
	got := must(maker.GetBucketLifecycle(ctx, own))
	same(len(got.Rules), 5)
	for n, rule := range got.Rules {
		same(rule.ID, rules.Rules[n].ID)
		same(rule.Expiration.Days, rules.Rules[n].Expiration.Days)
		same(rule.Expiration.DeleteMarker, rules.Rules[n].Expiration.DeleteMarker)
		same(rule.Expiration.Date.Unix(), rules.Rules[n].Expiration.Date.Unix())
		same(rule.RuleFilter.Prefix, rules.Rules[n].RuleFilter.Prefix)
		same(len(rule.RuleFilter.And.Tags), len(rules.Rules[n].RuleFilter.And.Tags))
		same(rule.RuleFilter.And.ObjectSizeGreaterThan, rules.Rules[n].RuleFilter.And.ObjectSizeGreaterThan)
	}
	// No rules: the client deletes them.
	ok(maker.SetBucketLifecycle(ctx, own, lifecycle.NewConfiguration()))
	_, err = maker.GetBucketLifecycle(ctx, own)
	minioRefused(err, "NoSuchLifecycleConfiguration", 404)

	allowed := []cors.Rule{{
		ID: "app", AllowedOrigin: []string{"https://*.example.com"}, AllowedMethod: []string{"GET", "PUT"},
		AllowedHeader: []string{"*"}, ExposeHeader: []string{"ETag"}, MaxAgeSeconds: 60,
	}}
	same(must(maker.GetBucketCors(ctx, own)) == nil, true)
	ok(maker.SetBucketCors(ctx, own, cors.NewConfig(allowed)))
	same(must(maker.GetBucketCors(ctx, own)).CORSRules, allowed)
	ok(maker.SetBucketCors(ctx, own, nil))
	same(must(maker.GetBucketCors(ctx, own)) == nil, true)

	_, err = maker.GetBucketTagging(ctx, own)
	minioRefused(err, "NoSuchTagSet", 404)
	same(must(maker.GetBucketPolicy(ctx, own)), "")
	same(must(maker.GetBucketNotification(ctx, own)).QueueConfigs == nil, true)
	same(must(maker.GetBucketLocation(ctx, own)), "us-east-1")
	_, _, _, _, err = maker.GetObjectLockConfig(ctx, own)
	minioRefused(err, "ObjectLockConfigurationNotFoundError", 404)
}

func minioVersions() {
	maker, own, remove := ownBucket(minio.MakeBucketOptions{})
	defer remove()
	same(must(maker.GetBucketVersioning(ctx, own)).Status, "")
	put := func(name, body string) string {
		return must(maker.PutObject(ctx, own, name, strings.NewReader(body), int64(len(body)), minio.PutObjectOptions{})).VersionID
	}
	same(put("old", "0"), "")
	ok(maker.EnableVersioning(ctx, own))
	same(must(maker.GetBucketVersioning(ctx, own)).Status, "Enabled")
	ids := map[string]bool{}
	for _, name := range names {
		for n := range 3 {
			ids[put(name, strings.Repeat("x", n))] = false
		}
		ok(maker.RemoveObject(ctx, own, name, minio.RemoveObjectOptions{}))
	}
	markers := 0
	for _, options := range []minio.ListObjectsOptions{{}, {MaxKeys: 7}} {
		options.WithVersions, options.Recursive = true, true
		markers = 0
		for entry := range maker.ListObjects(ctx, own, options) {
			ok(entry.Err)
			if entry.IsDeleteMarker {
				same(entry.IsLatest, true)
				markers++
			} else if entry.Key == "old" {
				same(entry.VersionID, "null")
			} else {
				_, known := ids[entry.VersionID]
				same([]bool{known, entry.IsLatest}, []bool{true, false})
				head := must(maker.StatObject(ctx, own, entry.Key, minio.StatObjectOptions{VersionID: entry.VersionID}))
				same([]any{head.Size, head.VersionID, head.ETag}, []any{entry.Size, entry.VersionID, entry.ETag})
				ids[entry.VersionID] = true
			}
		}
		same(markers, len(names))
	}
	for id, seen := range ids {
		same([]any{id, seen}, []any{id, true})
	}
	_, err := maker.StatObject(ctx, own, names[0], minio.StatObjectOptions{})
	minioRefused(err, "NoSuchKey", 404)
	ok(maker.SuspendVersioning(ctx, own))
	same(put("old", "1"), "null")
}

func minioLocked() {
	maker, own, remove := ownBucket(minio.MakeBucketOptions{ObjectLocking: true})
	defer remove()
	mode, unit, validity := minio.Governance, minio.Days, uint(1)
	ok(maker.SetObjectLockConfig(ctx, own, &mode, &validity, &unit))
	said, gotMode, gotValidity, gotUnit, err := maker.GetObjectLockConfig(ctx, own)
	ok(err)
	same([]any{said, *gotMode, *gotValidity, *gotUnit}, []any{"Enabled", mode, validity, unit})
	put := must(maker.PutObject(ctx, own, "default", strings.NewReader("x"), 1, minio.PutObjectOptions{}))
	gone := minio.RemoveObjectOptions{VersionID: put.VersionID}
	minioRefused(maker.RemoveObject(ctx, own, "default", gone), "AccessDenied", 403)
	gone.GovernanceBypass = true
	ok(maker.RemoveObject(ctx, own, "default", gone))

	until := time.Now().UTC().Add(48 * time.Hour)
	put = must(maker.PutObject(ctx, own, "k", strings.NewReader("x"), 1, minio.PutObjectOptions{
		Mode: minio.Governance, RetainUntilDate: until, LegalHold: minio.LegalHoldEnabled, SendContentMd5: true,
	}))
	found, when, err := maker.GetObjectRetention(ctx, own, "k", put.VersionID)
	ok(err)
	same([]any{*found, when.Unix()}, []any{minio.Governance, until.Unix()})
	hold := must(maker.GetObjectLegalHold(ctx, own, "k", minio.GetObjectLegalHoldOptions{}))
	same(*hold, minio.LegalHoldEnabled)
	gone.VersionID = put.VersionID
	minioRefused(maker.RemoveObject(ctx, own, "k", gone), "AccessDenied", 403)
	off := minio.LegalHoldDisabled
	ok(maker.PutObjectLegalHold(ctx, own, "k", minio.PutObjectLegalHoldOptions{Status: &off}))
	same(*must(maker.GetObjectLegalHold(ctx, own, "k", minio.GetObjectLegalHoldOptions{})), off)
	later := until.Add(time.Hour)
	ok(maker.PutObjectRetention(ctx, own, "k", minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &later}))
	minioRefused(maker.PutObjectRetention(ctx, own, "k", minio.PutObjectRetentionOptions{Mode: &mode, RetainUntilDate: &until}), "AccessDenied", 403)
	minioRefused(maker.SuspendVersioning(ctx, own), "InvalidBucketState", 409)
	// Several parts, locked when they begin.
	large := random(6 * mib)
	parts := must(maker.PutObject(ctx, own, "parts", stream(large), -1, minio.PutObjectOptions{PartSize: 5 * mib, Mode: mode, RetainUntilDate: until}))
	gone = minio.RemoveObjectOptions{VersionID: parts.VersionID}
	err = maker.RemoveObject(ctx, own, "parts", gone)
	var answer minio.ErrorResponse
	same([]any{errors.As(err, &answer), answer.Code}, []any{true, "AccessDenied"})
}
