"""Imported last by the process that forks services: what each of them would otherwise do anew.

None compiles the pages' templates, or writes the statements of every look; and what is there by now is never
looked through for garbage, which would copy it into each of them.
"""

import gc
import sys

from orchestrator.store.prepared import Prepared
from orchestrator.web.rendering import environment

for _name in environment("").list_templates():
    environment("").get_template(_name)
_modules = [module for name, module in sys.modules.items() if name.startswith("orchestrator.store.")]
for _one in [one for module in _modules for one in vars(module).values()]:
    for _statement in _one.values() if isinstance(_one, dict) else (_one,):
        if isinstance(_statement, Prepared):
            _statement.prepare()
gc.collect()
gc.freeze()
