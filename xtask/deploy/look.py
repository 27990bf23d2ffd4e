"""What `cargo xtask deploy` has to read as YAML and JSON. Each command prints what is wrong, a sentence a line."""

import json
import pathlib
import re
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
KUBERNETES = ["1.30", "1.35", "1.37"]
# Kinds whose schemas come from an operator or from kubectl, and are not Kubernetes's own.
FOREIGN = {"ServiceMonitor"}


def compose(file):
    """The file is Compose, and what it mounts from the project is there."""
    import compose_spec

    file = pathlib.Path(file)
    try:
        compose_spec.PyCompose.from_yaml(file.read_text())
    except Exception as error:
        return [f"{file}: {error}"]
    wrong = []
    document = yaml.safe_load(file.read_text())
    for name, service in document["services"].items():
        mounts = [volume.split(":")[0] for volume in service.get("volumes", [])]
        build = service.get("build")
        if build:
            mounts.append(f"{build['context']}/{build['dockerfile']}")
        for path in mounts:
            if not (file.parent / path).is_file():
                wrong.append(f"{file}: `{name}` mounts {path}, which is not there")
        for other in service.get("depends_on", []):
            if other not in document["services"]:
                wrong.append(f"{file}: `{name}` depends on `{other}`, which is no service")
        for secret in service.get("secrets", []):
            if secret not in document.get("secrets", {}):
                wrong.append(f"{file}: `{name}` has the secret `{secret}`, which is not defined")
    return wrong


def manifests(file, out, *elsewhere):
    """Every object is what Kubernetes takes, and they fit together. Writes the configurations in it to the folder `out`;
    ConfigMaps and Secrets `elsewhere` are somebody else's."""
    import kubernetes_validate

    documents = [d for d in yaml.safe_load_all(pathlib.Path(file).read_text()) if d]
    wrong = []
    for document in documents:
        kind, name = document["kind"], document["metadata"]["name"]
        if kind in FOREIGN:
            continue
        for version in KUBERNETES:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except Exception as error:
                wrong.append(f"{kind} {name}, Kubernetes {version}: {getattr(error, 'message', error)}")
    wrong += fits(documents, set(elsewhere))
    for document in of(documents, "ConfigMap"):
        text = document["data"]["maitred.toml"]
        (pathlib.Path(out) / f"{document['metadata']['name']}.toml").write_text(text)
    return [f"{file}: {sentence}" for sentence in wrong]


def of(documents, kind):
    return [document for document in documents if document["kind"] == kind]


def fits(documents, elsewhere):
    wrong = []
    named = elsewhere | {d["metadata"]["name"] for d in documents if d["kind"] in ("ConfigMap", "Secret")}
    [deployment] = of(documents, "Deployment")
    template = deployment["spec"]["template"]
    labels, pod = template["metadata"]["labels"].items(), template["spec"]
    [container] = pod["containers"]
    ports = {port["name"] for port in container["ports"]}
    selectors = [("Deployment", deployment["spec"]["selector"]["matchLabels"])]
    for service in of(documents, "Service"):
        selectors.append((service["metadata"]["name"], service["spec"]["selector"]))
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in ports:
                wrong.append(f"the Service wants the port `{port['targetPort']}`, which the container has not")
    for budget in of(documents, "PodDisruptionBudget"):
        selectors.append(("PodDisruptionBudget", budget["spec"]["selector"]["matchLabels"]))
    for name, selector in selectors:
        if not selector.items() <= labels:
            wrong.append(f"{name} selects {selector}, which the pods are not")
    for volume in pod["volumes"]:
        source = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
        if source and source not in named:
            wrong.append(f"the volume `{volume['name']}` is of `{source}`, which nobody makes")
    volumes = {volume["name"] for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        if mount["name"] not in volumes:
            wrong.append(f"the mount `{mount['name']}` is of no volume")
    drain = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace = next((e["value"] for e in container.get("env", []) if e["name"] == "GRACE_PERIOD"), "30s")
    if pod["terminationGracePeriodSeconds"] <= drain + int(grace.removesuffix("s")):
        wrong.append("terminationGracePeriodSeconds cuts the grace period of the server")
    account = pod["serviceAccountName"]
    accounts = [a["metadata"]["name"] for a in of(documents, "ServiceAccount")]
    if accounts and account not in accounts:
        wrong.append(f"the pods run as `{account}`, which is not made")
    monitors = of(documents, "ServiceMonitor")
    for monitor in monitors:
        selector = monitor["spec"]["selector"]["matchLabels"].items()
        chosen = [s for s in of(documents, "Service") if selector <= s["metadata"]["labels"].items()]
        if len(chosen) != 1 or chosen[0]["spec"]["ports"][0]["name"] != monitor["spec"]["endpoints"][0]["port"]:
            wrong.append("the ServiceMonitor does not choose the Service of the admin plane alone")
    return wrong


def verbatim(values, rendered):
    """The configuration in the ConfigMap is the one in the values, to the byte."""
    wanted = yaml.safe_load(pathlib.Path(values).read_text())["config"]
    documents = [d for d in yaml.safe_load_all(pathlib.Path(rendered).read_text()) if d]
    [made] = of(documents, "ConfigMap")
    if made["data"]["maitred.toml"].rstrip("\n") != wanted.rstrip("\n"):
        return [f"{rendered}: the chart changes the configuration on its way into the ConfigMap"]
    return []


def dashboard(file, out):
    """The dashboard's panels lie beside each other. Writes its queries as rules for promtool to the file `out`."""
    board = json.loads(pathlib.Path(file).read_text())
    wrong, rules, taken = [], [], {}
    for panel in board["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                other = taken.setdefault((x, y), panel["title"])
                if other != panel["title"]:
                    wrong.append(f"{file}: `{panel['title']}` lies over `{other}`")
                if x >= 24:
                    wrong.append(f"{file}: `{panel['title']}` is wider than the board")
    targets = [t["expr"] for panel in board["panels"] for t in panel.get("targets", [])]
    targets += [annotation["expr"] for annotation in board["annotations"]["list"]]
    variables = {variable["name"] for variable in board["templating"]["list"]}
    for expression in targets:
        plain = expression.replace("$__rate_interval", "5m")
        unknown = set(re.findall(r"\$\{?(\w+)", plain)) - variables
        if unknown:
            wrong.append(f"{file}: `{expression}` uses {sorted(unknown)}, which is no variable of the board")
        plain = re.sub(r"\$\{?\w+\}?", ".*", plain)
        rules.append({"record": f"panel{len(rules)}", "expr": plain})
    pathlib.Path(out).write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    return sorted(set(wrong))


def metrics(*files):
    """Every metric that the files ask for is in the reference, which is derived from the code, and has the labels that
    they ask it for."""
    known = {}
    for line in (ROOT / "docs/reference/metrics.md").read_text().splitlines():
        if found := re.match(r"\| `((?:maitred|process)_\w+)` \|(?:[^|]*\|([^|]*)\|)?", line):
            known[found[1]] = set(re.findall(r"`(\w+)`", found[2] or ""))
    wrong = []
    for file in files:
        text = pathlib.Path(file).read_text().replace('\\"', '"')
        for name in sorted(set(re.findall(r"\b(?:maitred|process)_[a-z0-9_]+\b", text))):
            if plain(name, known) not in known:
                wrong.append(f"{file}: `{name}` is no metric of docs/reference/metrics.md")
        for expression in expressions(file):
            names = [plain(name, known) for name in re.findall(r"\b(?:maitred|process)_[a-z0-9_]+\b", expression)]
            labels = set().union({"job", "instance", "le"}, *(known.get(name, ()) for name in names))
            asked = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
            asked += [label.strip() for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(",")]
            for label in sorted(set(asked) - labels):
                wrong.append(f"{file}: no metric of `{expression.strip()}` has the label `{label}`")
    return wrong


def plain(name, known):
    """The name of a histogram without the ending of its series."""
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    return stem if stem in known else name


def expressions(file):
    document = yaml.safe_load(pathlib.Path(file).read_text())
    if "panels" in document:
        return [target["expr"] for panel in document["panels"] for target in panel.get("targets", [])]
    return [rule["expr"] for group in document["groups"] for rule in group["rules"]]


COMMANDS = {f.__name__: f for f in (compose, manifests, verbatim, dashboard, metrics)}
sentences = COMMANDS[sys.argv[1]](*sys.argv[2:])
print(*sentences, sep="\n", end="\n" if sentences else "")
sys.exit(1 if sentences else 0)
