"""All task families of the demo."""

from verl_vip.recipes.demo.gym_families import GYM_FAMILIES
from verl_vip.recipes.demo.letter_families import LETTER_FAMILIES

FAMILIES = GYM_FAMILIES + LETTER_FAMILIES
