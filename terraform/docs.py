#!/usr/bin/env python3
"""Keeps the READMEs of modules and environments true.

    terraform/docs.py                        writes the tables between the markers
    terraform/docs.py --check                writes nothing; fails where a table is not what the .tf files say
    terraform/docs.py --plan NAME=FILE …     also the table of what a plan with example/NAME.tfvars of an environment contains,
                                             from the output of
                                             terraform test -test-directory=example -var-file=example/NAME.tfvars -json -verbose
    terraform/docs.py --examples FOLDER      writes each ```hcl example of a module's README as a root module below FOLDER,
                                             which must lie beside modules/, and prints its path

Reads what `terraform fmt` has formatted: blocks begin and end in the first column. Needs Python 3 and nothing else.
"""

import argparse
import collections
import difflib
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent
FOLDERS = [*sorted((ROOT / "modules").iterdir()), *sorted((ROOT / "environments").iterdir())]

# What a resource of each type is for, in the table of an environment's plan.
PURPOSE = {
    "google_billing_budget": "tells when a month becomes expensive",
    "google_cloud_run_v2_job": "migrations; long replays",
    "google_cloud_run_v2_job_iam_member": "who may start them",
    "google_cloud_run_v2_service": "event store, admin, and workers that are pushed to",
    "google_cloud_run_v2_service_iam_member": "who may append, who may see and repair",
    "google_cloud_run_v2_worker_pool": "workers that pull, one pool per topic",
    "google_cloud_scheduler_job": "wakes each sleeping worker once a day, to sweep",
    "google_compute_global_address": "addresses for the database's side of the network",
    "google_compute_network": "the fleet's own network",
    "google_compute_subnetwork": "addresses for Cloud Run's side of it",
    "google_monitoring_alert_policy": "alerts, each with a runbook of its name",
    "google_monitoring_custom_service": "what the objectives belong to",
    "google_monitoring_dashboard": "six tiles",
    "google_monitoring_slo": "an objective for each subscription",
    "google_project_iam_member": "roles on the project: into this database; writing metrics; through IAP, where that is chosen",
    "google_pubsub_subscription": "one per topic, and one for the dead letters of each",
    "google_pubsub_subscription_iam_member": "workers read; Pub/Sub's agent acknowledges what it dead-letters",
    "google_pubsub_topic": "one per topic, and one for the dead letters of each",
    "google_pubsub_topic_iam_member": "the event store publishes; Pub/Sub's agent publishes dead letters",
    "google_secret_manager_secret": "the password of each user of Postgres",
    "google_secret_manager_secret_iam_member": "who may read it",
    "google_secret_manager_secret_version": "its value, which is in no state",
    "google_service_account": "what things run as",
    "google_service_account_iam_member": "Pub/Sub may sign pushes as the one account",
    "google_service_networking_connection": "joins the two sides of the network",
    "google_sql_database": "the one database",
    "google_sql_database_instance": "Postgres 16",
    "google_sql_user": "users of Postgres",
    "terraform_data": "a run of the migrations, before anything else gets the image",
}


def blocks(folder, kind):
    """Labels and lines of each top-level block of a kind, in the order of the files."""
    for path in sorted(folder.glob("*.tf")):
        labels = lines = None
        for line in path.read_text().splitlines():
            head = re.match(rf'{kind}((?: "[^"]+")+) \{{(\}}?)$', line)
            if head:
                labels, lines = re.findall(r'"([^"]+)"', head[1]), []
                if head[2]:
                    yield labels, lines
                    labels = None
            elif labels and line == "}":
                yield labels, lines
                labels = None
            elif labels:
                lines.append(line)


def argument(lines, name):
    """The expression of an argument of the block, on one line and without comments; None if it is not given."""
    for start, line in enumerate(lines):
        if not re.match(rf"  {name} +=", line):
            continue
        expression, depth = [], 0
        for part in lines[start:]:
            part = part.strip()
            if part.startswith("#"):
                continue
            bare = re.sub(r'"(\\.|[^"\\])*"', "", part)
            depth += sum(bare.count(mark) for mark in "({[") - sum(bare.count(mark) for mark in ")}]")
            # fmt aligns the equal signs of several lines; on one line that is only space.
            expression.append(re.sub(r"^(\w+) +=", r"\1 =", part))
            if depth == 0:
                break
        text = " ".join(expression).split("=", 1)[1].strip()
        # The lines of an object need no commas; on one line they do.
        inner = expression[1:-1]
        if inner:
            text = f"{expression[0].split('=', 1)[1].strip()} {', '.join(item.rstrip(',') for item in inner)} {expression[-1]}"
        return re.sub(r"([\[({]),? ", r"\1 ", text)
    return None


def described(what, lines):
    text = argument(lines, "description")
    if text is None:
        sys.exit(f"{what} has no description")
    return json.loads(text)


def cell(text):
    return text.replace("|", "\\|")


def table(head, rows):
    if not rows:
        return []
    return ["", f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(f"| {' | '.join(cell(part) for part in row)} |" for row in rows)]


def tables(folder):
    """What a module takes, gives, and is made of."""
    inputs = []
    for (name,), lines in blocks(folder, "variable"):
        default = argument(lines, "default")
        inputs.append((default is not None, name, [
            f"`{name}`",
            described(f"{folder.name}: variable {name}", lines),
            f"`{argument(lines, 'type')}`",
            "required" if default is None else f"`{default}`",
        ]))
    # What must be given comes first.
    inputs.sort(key=lambda row: row[0])
    outputs = [[f"`{name}`", described(f"{folder.name}: output {name}", lines)] for (name,), lines in blocks(folder, "output")]
    resources = [[f"`{kind}.{name}`", "resource"] for (kind, name), _ in blocks(folder, "resource")]
    resources += [[f"`{kind}.{name}`", "read"] for (kind, name), _ in blocks(folder, "data")]
    modules = [
        [f"`module.{name}`", f"[{source}](../../modules/{source})"]
        for (name,), lines in blocks(folder, "module")
        for source in [argument(lines, "source").strip('"').rsplit("/", 1)[1]]
    ]
    out = table(["input", "meaning", "type", "default"], [row for _, _, row in inputs])
    out += table(["output", "meaning"], outputs)
    out += table(["made of", "kind"], resources + modules)
    return "\n".join(out[1:]) + "\n"


def planned(name, path):
    """How many of each type a plan contains."""
    for line in pathlib.Path(path).read_text().splitlines():
        event = json.loads(line)
        if event["type"] == "test_plan":
            changes = event["test_plan"]["resource_changes"]
            break
    else:
        sys.exit(f"{path}: there is no plan of {name} in it")
    count = collections.Counter(
        change["type"] for change in changes if change["mode"] == "managed" and change["change"]["actions"] == ["create"]
    )
    unknown = sorted(set(count) - set(PURPOSE))
    if unknown:
        sys.exit(f"terraform/docs.py does not say what these are for: {', '.join(unknown)}")
    return count


def contained(counts):
    """The table of what the plans of one environment contain, by their names."""
    kinds = sorted(set().union(*counts.values()))
    rows = [[f"`{kind}`", *(str(count[kind]) for count in counts.values()), PURPOSE[kind]] for kind in kinds]
    rows.append(["**all**", *(f"**{count.total()}**" for count in counts.values()), ""])
    return "\n".join(table(["type", *counts, "what for"], rows)[1:]) + "\n"


def replaced(text, marker, content, path):
    begin, end = f"<!-- {marker}: written by terraform/docs.py -->\n", f"<!-- end of {marker} -->\n"
    if text.count(begin) != 1 or text.count(end) != 1:
        sys.exit(f"{path}: wants the markers {begin.strip()} and {end.strip()}, once")
    before, rest = text.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}{content}{end}{after}"


def examples(folder):
    """Each example of each module, as a root module."""
    for module in sorted((ROOT / "modules").iterdir()):
        found = re.findall(r"^```hcl\n(.*?)^```$", (module / "README.md").read_text(), re.M | re.S)
        if not found:
            sys.exit(f"modules/{module.name}/README.md has no example")
        for number, example in enumerate(found, 1):
            path = folder / f"{module.name}-{number}"
            path.mkdir(parents=True)
            (path / "main.tf").write_text(example)
            print(path)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--check", action="store_true")
    arguments.add_argument("--plan", action="append", default=[], metavar="NAME=FILE")
    arguments.add_argument("--examples", type=pathlib.Path, metavar="FOLDER")
    options = arguments.parse_args()
    if options.examples:
        return examples(options.examples)

    plans = {name: planned(name, path) for name, path in (plan.split("=", 1) for plan in options.plan)}
    wrong = 0
    for name, count in plans.items():
        if f"{name}: {count.total()} resources" not in (ROOT / "README.md").read_text():
            sys.exit(f"terraform/README.md does not say that a plan has {name}: {count.total()} resources")
    for folder in FOLDERS:
        path = folder / "README.md"
        old = path.read_text()
        new = replaced(old, "tables", tables(folder), path)
        own = {name: count for name, count in plans.items() if (folder / f"example/{name}.tfvars").exists()}
        if own:
            new = replaced(new, "plan", contained(own), path)
        if new == old:
            continue
        wrong += 1
        if options.check:
            name = str(path.relative_to(ROOT.parent))
            sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), name, f"{name}, as it should be"))
        else:
            path.write_text(new)
            print(f"wrote {path.relative_to(ROOT.parent)}")
    if options.check and wrong:
        sys.exit("\nrun terraform/docs.py (with the same --plan, if any), and commit what it writes")


if __name__ == "__main__":
    main()
